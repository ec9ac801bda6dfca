"""The codec: what goes in comes out, and what is wrong is named by its path."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd import wire
from nbd.errors import InvalidInput
from nbd.gpus.model import Lease, Sharing
from nbd.messages import CardView, GpusView, NotebookView, Progress, StartRequest
from nbd.notebooks.model import Failure, Notebook, State, Want

texts = st.text(max_size=20)
notebooks = st.builds(
    Notebook,
    id=texts, name=texts, owner=texts, profile=texts, editor=texts,
    created=st.floats(0, 1e10), state=st.sampled_from(State), want=st.sampled_from(Want), gpus=st.none() | st.integers(0, 8),
    started=st.none() | st.floats(0, 1e10), phases=st.dictionaries(texts, st.floats(0, 1e3), max_size=3),
    failure=st.none() | st.builds(Failure, texts, texts, texts, st.lists(texts, max_size=3).map(tuple)),
    crashes=st.lists(st.floats(0, 1e10), max_size=3).map(tuple),
)  # fmt: skip


@given(notebooks)
def test_a_notebook_comes_back_as_it_was(notebook: Notebook) -> None:
    assert wire.decode(Notebook, wire.encode(notebook)) == notebook


@given(st.binary(max_size=20))
def test_a_name_that_is_no_text_travels(name: bytes) -> None:
    request = StartRequest(name.decode("utf-8", "surrogateescape"))
    sent = wire.encode(request).encode()
    assert wire.decode(StartRequest, sent) == request


def test_text_is_sent_as_it_is() -> None:
    assert "é" in wire.encode(StartRequest("é"))


def test_leases_in_a_label_come_back() -> None:
    leases = (Lease("GPU-a", "n", "bob/train", 1.0), Lease("GPU-b", "n", "bob/train", 1.5, Sharing.SHARED, 8))
    assert wire.decode(tuple[Lease, ...], wire.encode(leases)) == leases


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('{"name": 3}', "name must be a string, not 3"),
        ('{"gpus": "two"}', 'gpus must be a integer, not "two"'),
        ('{"wait": 1}', "wait must be a boolean, not 1"),
        ('{"gpu": 1}', "unknown field 'gpu'"),
        ("[]", "the message must be an object, not []"),
        ('{"name": ', "not JSON"),
        ('{"gpus": true}', "gpus must be a integer, not true"),
    ],
)
def test_a_wrong_request_is_named(message: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.decode(StartRequest, message, strict=True)
    assert said in caught.value.message


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.decode(StartRequest, '{"profil": "x"}', strict=True)
    assert caught.value.hint == "did you mean 'profile'?"


def test_the_path_leads_into_lists() -> None:
    view = {"cards": [{"uuid": "a", "name": "b", "memory_bytes": 1}, {"uuid": "c", "name": 4, "memory_bytes": 1}], "simulated": False, "reason": ""}
    with pytest.raises(InvalidInput, match=r"cards\[1\]\.name must be a string, not 4"):
        wire.load(GpusView, view)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidInput, match="text is missing"):
        wire.load(Progress, {"phase": "x"})


def test_answers_of_a_newer_daemon_pass() -> None:
    assert wire.load(Progress, {"phase": "x", "text": "y", "new": 1}) == Progress("x", "y")


leaves = st.none() | st.booleans() | st.integers() | texts
messages = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(messages)
def test_no_message_breaks_the_reader(message: object) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(wire.load(NotebookView, message), NotebookView)


def test_schemas_are_json() -> None:
    shape = wire.schema(CardView)
    assert json.loads(json.dumps(shape)) == shape
    assert shape["required"] == ["uuid", "name", "memory_bytes"]
    assert shape["properties"]["used_bytes"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
