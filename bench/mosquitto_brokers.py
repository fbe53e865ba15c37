"""Mosquitto under several ways to decide, each with one user who may do all that is benched."""

import base64
import contextlib
import hashlib
import json
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from servers import exhook

from exhook.brokers.mosquitto.build import FILE, build
from exhook.brokers.mosquitto.configuration import PluginOptions, ReadCheck, configuration
from exhook.brokers.mosquitto.running import installed
from store.clock import now_ms
from store.database import Database
from store.records import (
    Action,
    Effect,
    Grantee,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Secret,
    SecretForm,
    SignMode,
)
from store.seal import SealKeys, new_key

HOST: Final = "127.0.0.1"
USERNAME: Final = "bench"
PASSWORD: Final = b"bench-password"
SALT: Final = bytes(range(12))
ITERATIONS: Final = 101
"""Mosquitto's own number."""
TOPICS: Final = "bench/#"

_DYNAMIC_SECURITY: Final = "mosquitto_dynamic_security.so"
_LIBRARIES: Final = ("/usr/lib", "/usr/local/lib")

Lines = Callable[[Path, ExitStack], str]
"""Prepares what a broker needs in a folder; the lines of its configuration."""


@dataclass(frozen=True)
class Way:
    """One way to decide."""

    name: str
    lines: Lines


@contextmanager
def broker(way: Way, folder: Path) -> Iterator[int]:
    """A Mosquitto that decides in this way; its port."""
    folder.mkdir()
    program = installed()
    assert program is not None
    with ExitStack() as stack, socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
        free.close()
        file = folder / "mosquitto.conf"
        user = pwd.getpwuid(os.geteuid()).pw_name
        # Without a delay of TCP's, which would be all that is measured.
        common = f"user {user}\nlog_type none\nmax_inflight_messages 0\nset_tcp_nodelay true\n"
        file.write_text(f"{common}listener {port} {HOST}\n{way.lines(folder, stack)}")
        process = subprocess.Popen([program, "-c", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(process, port)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def no_auth(_: Path, __: ExitStack) -> str:
    return "allow_anonymous true\n"


def files(folder: Path, _: ExitStack) -> str:
    """password_file and acl_file."""
    (folder / "passwords").write_text(f"{USERNAME}:{mosquitto_hash()}\n")
    (folder / "acl").write_text(f"user {USERNAME}\ntopic readwrite {TOPICS}\n")
    return f"allow_anonymous false\npassword_file {folder / 'passwords'}\nacl_file {folder / 'acl'}\n"


def dynamic_security(folder: Path, _: ExitStack) -> str:
    kinds = ("publishClientSend", "publishClientReceive", "subscribePattern", "unsubscribePattern")
    acls = [{"acltype": kind, "topic": TOPICS, "priority": 0, "allow": True} for kind in kinds]
    client = {
        "username": USERNAME,
        "roles": [{"rolename": "bench"}],
        "password": base64.b64encode(_pbkdf2()).decode(),
        "salt": base64.b64encode(SALT).decode(),
        "iterations": ITERATIONS,
    }
    written = {"defaultACLAccess": dict.fromkeys(kinds, False), "clients": [client], "groups": []}
    file = folder / "dynamic-security.json"
    file.write_text(json.dumps(written | {"roles": [{"rolename": "bench", "acls": acls}]}))
    library = dynamic_security_library()
    return f"allow_anonymous false\nplugin {library}\nplugin_opt_config_file {file}\n"


def dynamic_security_library() -> Path | None:
    return next((found for folder in _LIBRARIES for found in Path(folder).rglob(_DYNAMIC_SECURITY)), None)


def plugin(mode: SignMode, *, options: PluginOptions, carrier: str = "h2") -> Lines:
    """exhook, by its plugin."""

    def lines(folder: Path, stack: ExitStack) -> str:
        db, key_file = folder / "exhook.db", folder / "key"
        key_file.write_text(new_key() + "\n")
        fill(db, SealKeys.from_environment({}, key_file), mode)
        cores = tuple(sorted(os.sched_getaffinity(0)))
        server = stack.enter_context(exhook(db, key_file, cores=cores, carrier=carrier))
        build(folder / FILE)
        chosen = PluginOptions(
            address=f"{HOST}:{server.port}",
            deadline_ms=5000,
            read_check=options.read_check,
            cache_size=options.cache_size,
        )
        printed = configuration(folder / FILE, chosen)
        return "".join(line for line in printed.splitlines(keepends=True) if not line.startswith("listener "))

    return lines


def fill(db: Path, keys: SealKeys, mode: SignMode) -> None:
    """One user who may do everything below `bench/`."""
    hashed = mode is SignMode.HASHED
    value = mosquitto_hash().encode() if hashed else PASSWORD
    form = SecretForm.HASH if hashed else SecretForm.KEY
    instance = "mqtt-bench"
    with Database.open(db, keys) as database:
        secret = Secret(id="1", value=value, form=form, fingerprint=database.fingerprint(form, value))
        with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
            write.put(Instance(name=instance))
            write.put(
                Identity(
                    instance=instance,
                    identity_type=IdentityType.USER,
                    username=USERNAME,
                    sign_mode=mode,
                    secrets=(secret,),
                )
            )
            write.put(
                Permission(
                    instance=instance,
                    identity_type=Grantee.USER,
                    identity=USERNAME,
                    topic=TOPICS,
                    action=Action.PUB_SUB,
                    effect=Effect.ALLOW,
                )
            )


def ways() -> list[Way]:
    """Those that are installed."""
    by_default = PluginOptions()
    found = [Way("no auth", no_auth), Way("password_file, acl_file", files)]
    if dynamic_security_library():
        found.append(Way("dynamic security", dynamic_security))
    return [
        *found,
        Way("exhook, literal password", plugin(SignMode.ORIGIN, options=by_default)),
        Way("exhook, carrier grpc", plugin(SignMode.ORIGIN, options=by_default, carrier="grpc")),
        Way("exhook, Mosquitto's hash", plugin(SignMode.HASHED, options=by_default)),
        Way("exhook, read_check on", plugin(SignMode.ORIGIN, options=PluginOptions(read_check=ReadCheck.ON))),
        Way("exhook, no cache", plugin(SignMode.ORIGIN, options=PluginOptions(cache_size=0))),
    ]


def mosquitto_hash() -> str:
    """What mosquitto_passwd writes."""
    salt, digest = (base64.b64encode(part).decode() for part in (SALT, _pbkdf2()))
    return f"$7${ITERATIONS}${salt}${digest}"


def _pbkdf2() -> bytes:
    return hashlib.pbkdf2_hmac("sha512", PASSWORD, SALT, ITERATIONS)


def _await(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("Mosquitto did not start")
