"""JupyterHub with DockerSpawner on Podman's socket, set up for speed. Runs on the peer's own Python: `serve.py '{"api_port": …}'`.

All is on loopback: the containers use the host's network, which also saves them the making of one. What is not said here is the default.
"""

import json
import sys

from dockerspawner import DockerSpawner  # type: ignore[import-not-found]
from jupyterhub.app import JupyterHub  # type: ignore[import-not-found]
from traitlets.config import Config  # type: ignore[import-not-found,unused-ignore]

PATIENCE_SECONDS = 60


async def on_loopback(spawner: DockerSpawner) -> tuple[str, int]:
    return "127.0.0.1", spawner.port


def configuration(asked: dict[str, str | int]) -> Config:
    loopback, limits = "127.0.0.1", [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in (("nofile", 20000), ("nproc", 16384))]
    return Config(
        {
            "JupyterHub": {
                "authenticator_class": "dummy",
                "spawner_class": type("Spawner", (DockerSpawner,), {"get_ip_and_port": on_loopback}),
                "bind_url": f"http://{loopback}:{asked['port']}",
                "hub_bind_url": f"http://{loopback}:{asked['hub_port']}",
                "db_url": "sqlite:///:memory:",
                "cookie_secret": b"\0" * 32,
                "services": [{"name": "bench", "api_token": asked["token"]}],
                "load_roles": [{"name": "bench", "scopes": ["admin:users", "admin:servers"], "services": ["bench"]}],
                # A start is answered when the server is up, not after the default of 10 s.
                "tornado_settings": {"slow_spawn_timeout": PATIENCE_SECONDS, "slow_stop_timeout": PATIENCE_SECONDS},
                "log_level": "WARN",
            },
            "Authenticator": {"allow_all": True},
            "ConfigurableHTTPProxy": {"command": [asked["proxy"]], "api_url": f"http://{loopback}:{asked['api_port']}"},
            "Spawner": {"ip": loopback, "port": asked["server_port"], "cmd": ["jupyterhub-singleuser", "--allow-root"]},
            "DockerSpawner": {
                "image": asked["image"],
                "pull_policy": "never",
                "name_template": asked["name"],
                "network_name": "host",
                "use_internal_ip": True,
                # A container a start, as nbd does.
                "remove": True,
                "extra_host_config": {"ulimits": limits},
            },
        }
    )


if __name__ == "__main__":
    JupyterHub.instance(config=configuration(json.loads(sys.argv[1])))
    JupyterHub.launch_instance([])
