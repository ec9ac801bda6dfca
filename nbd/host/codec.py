"""Ids, seals, keys and cuts of docs/home-format.md: BLAKE3, zstd, AES-256-GCM, FastCDC."""

from __future__ import annotations

import json
import os
import re
import threading

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastcdc import fastcdc

from ..errors import Damaged, Refused
from ..homes.model import AVG_CHUNK, MAX_CHUNK, MIN_CHUNK

RAW, ZSTD = b"\0", b"\1"
NONCE = 12
LEVEL = 3
PROBE = 16 << 10
PAYS = 0.94
THREADED = 256 << 10
ANONYMOUS = (b"f", b"p")
"""Types whose id is zero: they are opened before anything names their content."""


def threads_for(size: int) -> int:
    """For a little, waking the others costs more than they do."""
    return blake3.AUTO if size >= THREADED else 1


def derive(context: str, key: bytes) -> bytes:
    return bytes(blake3(key, derive_key_context=context).digest())


class HomeCodec:
    def __init__(self, home_key: bytes) -> None:
        self._id_key = derive("nbd 2026 ids", home_key)
        self._seal = AESGCM(derive("nbd 2026 seal", home_key))
        self._local = threading.local()

    def identify(self, kind: bytes, content: bytes | memoryview) -> bytes:
        threads = threads_for(len(content))
        hasher = blake3(kind, key=self._id_key, max_threads=threads)
        return bytes(hasher.update(content).digest())

    def seal(self, kind: bytes, part: bytes, content: bytes | memoryview) -> bytes:
        body = self._compressed(content)
        how = RAW if body is None else ZSTD
        nonce = os.urandom(NONCE)
        return nonce + self._seal.encrypt(nonce, how + (bytes(content) if body is None else body), b"nbd1" + kind + part)

    def open(self, kind: bytes, part: bytes, sealed: bytes, limit: int) -> bytes:
        try:
            opened = self._seal.decrypt(sealed[:NONCE], sealed[NONCE:], b"nbd1" + kind + part)
        except (InvalidTag, ValueError):
            raise Damaged(f"the {kind.decode()} object {part.hex()[:12]} is not what was stored") from None
        content = opened[1:] if opened[:1] == RAW else self._decompressed(opened[1:], limit)
        if len(content) > limit or (kind not in ANONYMOUS and self.identify(kind, content) != part):
            raise Damaged(f"the {kind.decode()} object {part.hex()[:12]} has another content than its name says")
        return content

    def _compressed(self, content: bytes | memoryview) -> bytes | None:
        """None where it does not pay: a probe from the middle tells for what is large."""
        if len(content) < 64:
            return None
        if not hasattr(self._local, "compressor"):
            self._local.compressor = zstandard.ZstdCompressor(level=LEVEL)
        compress = self._local.compressor.compress
        if len(content) > 4 * PROBE:
            middle = len(content) // 2
            if len(compress(content[middle : middle + PROBE])) > PAYS * PROBE and len(compress(content[:PROBE])) > PAYS * PROBE:
                return None
        body: bytes = compress(content)
        return body if len(body) < PAYS * len(content) else None

    @staticmethod
    def _decompressed(body: bytes, limit: int) -> bytes:
        try:
            if zstandard.get_frame_parameters(body).content_size > limit:
                raise Damaged("an object unpacks to more than it should")
            return zstandard.ZstdDecompressor().decompress(body, max_output_size=limit)
        except zstandard.ZstdError as error:
            raise Damaged(f"an object does not unpack: {error}") from None

    def digest(self, data: bytes) -> bytes:
        return bytes(blake3(data, max_threads=threads_for(len(data))).digest())

    def cut(self, window: memoryview) -> int:
        for chunk in fastcdc(window, MIN_CHUNK, AVG_CHUNK, MAX_CHUNK):
            return int(chunk.length)
        return 0

    def random(self, size: int) -> bytes:
        return os.urandom(size)


class MasterKeys:
    """The master key, and the ones it replaced: the first wraps, any may unwrap."""

    def __init__(self, *masters: bytes) -> None:
        self._masters = {derive("nbd 2026 master name", master).hex()[:16]: master for master in masters}

    def renew(self, master: bytes) -> None:
        """This one wraps from now on."""
        self._masters = {derive("nbd 2026 master name", master).hex()[:16]: master, **self._masters}

    def new_home(self) -> bytes:
        return self._config(os.urandom(16).hex(), os.urandom(32))

    def open_home(self, config: bytes) -> HomeCodec:
        return HomeCodec(self._unwrap(config)[1])

    def rewrap(self, config: bytes) -> bytes:
        """The same home key under the first master key alone."""
        return self._config(*self._unwrap(config))

    def _config(self, home: str, home_key: bytes) -> bytes:
        name, master = next(iter(self._masters.items()))
        nonce = os.urandom(NONCE)
        wrapped = AESGCM(derive("nbd 2026 wrap", master)).encrypt(nonce, home_key, bound_to(home))
        return canonical({"format": 1, "home": home, "keys": [{"master": name, "nonce": nonce.hex(), "wrapped": wrapped.hex()}]})

    def _unwrap(self, config: bytes) -> tuple[str, bytes]:
        damaged = Damaged("the config object of the home is not what was stored")
        try:
            message = json.loads(config)
            if canonical(message) != config or message["format"] != 1 or not re.fullmatch("[0-9a-f]{32}", message["home"]):
                raise damaged
            found = [key for key in message["keys"] if key["master"] in self._masters]
            if not found:
                names = ", ".join(str(key["master"]) for key in message["keys"])
                hint = "give nbd the master key file that this store was made with"
                raise Refused(f"the home was encrypted under the master key {names}", code="wrong_key", hint=hint)
            nonce, wrapped = bytes.fromhex(found[0]["nonce"]), bytes.fromhex(found[0]["wrapped"])
            if [nonce.hex(), wrapped.hex()] != [found[0]["nonce"], found[0]["wrapped"]]:
                raise damaged  # The same number in other letters is an altered config, too.
            wrap = AESGCM(derive("nbd 2026 wrap", self._masters[found[0]["master"]]))
            return message["home"], wrap.decrypt(nonce, wrapped, bound_to(message["home"]))
        except (ValueError, KeyError, TypeError, InvalidTag):
            raise damaged from None


def canonical(message: object) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":")).encode()


def bound_to(home: str) -> bytes:
    return b"nbd home key 1" + home.encode()
