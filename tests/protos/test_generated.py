"""The generated messages are those of the wire facts, up to date, and take whatever a client sends."""

import base64
import gzip
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import unknown_fields
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from protos import exhook_v1_pb2, exhook_v2_pb2, exhook_v3_pb2, generate

DATA = Path(__file__).parents[1] / "data"
VERSIONS: dict[str, ModuleType] = {"v1": exhook_v1_pb2, "v2": exhook_v2_pb2, "v3": exhook_v3_pb2}
NOT_UTF8 = b"\xff\xfe\x00\x80"

# message: "name=number:type"; `*` repeated, `B` what EMQX declares string and we declare bytes (same wire),
# `?` member of the oneof `value`.
V3 = """
ProviderLoadedRequest: broker=1:BrokerInfo meta=2:RequestMeta
ProviderUnloadedRequest: meta=1:RequestMeta
ClientConnectRequest: conninfo=1:ConnInfo props=2:*Property meta=3:RequestMeta user_props=4:*Property
ClientConnackRequest: conninfo=1:ConnInfo result_code=2:string props=3:*Property meta=4:RequestMeta \
user_props=5:*Property
ClientConnectedRequest: clientinfo=1:ClientInfo meta=2:RequestMeta
ClientDisconnectedRequest: clientinfo=1:ClientInfo reason=2:B meta=3:RequestMeta
ClientAuthenticateRequest: clientinfo=1:ClientInfo result=2:bool meta=3:RequestMeta
ClientAuthorizeRequest: clientinfo=1:ClientInfo type=2:AuthorizeReqType topic=3:B result=4:bool \
meta=5:RequestMeta
ClientSubscribeRequest: clientinfo=1:ClientInfo props=2:*Property topic_filters=3:*TopicFilter \
meta=4:RequestMeta user_props=5:*Property
ClientUnsubscribeRequest: clientinfo=1:ClientInfo props=2:*Property topic_filters=3:*TopicFilter \
meta=4:RequestMeta user_props=5:*Property
SessionCreatedRequest: clientinfo=1:ClientInfo meta=2:RequestMeta
SessionSubscribedRequest: clientinfo=1:ClientInfo topic=2:B subopts=3:SubOpts meta=4:RequestMeta
SessionUnsubscribedRequest: clientinfo=1:ClientInfo topic=2:B meta=3:RequestMeta
SessionResumedRequest: clientinfo=1:ClientInfo meta=2:RequestMeta
SessionDiscardedRequest: clientinfo=1:ClientInfo meta=2:RequestMeta
SessionTakenoverRequest: clientinfo=1:ClientInfo meta=2:RequestMeta
SessionTerminatedRequest: clientinfo=1:ClientInfo reason=2:B meta=3:RequestMeta
MessagePublishRequest: message=1:Message meta=2:RequestMeta props=3:*Property user_props=4:*Property
MessageDeliveredRequest: clientinfo=1:ClientInfo message=2:Message meta=3:RequestMeta
MessageDroppedRequest: message=1:Message reason=2:B meta=3:RequestMeta
MessageAckedRequest: clientinfo=1:ClientInfo message=2:Message meta=3:RequestMeta
LoadedResponse: hooks=1:*HookSpec
ValuedResponse: type=1:ResponsedType bool_result=3:?bool message=4:?Message
EmptySuccess:
BrokerInfo: version=1:string sysdescr=2:string uptime=3:int64 datetime=4:string
HookSpec: name=1:string topics=2:*string
ConnInfo: node=1:string clientid=2:B username=3:B peerhost=4:string sockport=5:uint32 proto_name=6:B \
proto_ver=7:B keepalive=8:uint32 peerport=9:uint32
ClientInfo: node=1:string clientid=2:B username=3:B password=4:B peerhost=5:string sockport=6:uint32 \
protocol=7:string mountpoint=8:B is_superuser=9:bool anonymous=10:bool cn=11:B dn=12:B peerport=13:uint32
Message: node=1:string id=2:string qos=3:uint32 from=4:B topic=5:B payload=6:bytes timestamp=7:uint64 \
headers=8:map<string,B>
Property: name=1:B value=2:B
TopicFilter: name=1:B subopts=3:SubOpts
SubOpts: qos=1:uint32 rh=3:uint32 rap=4:uint32 nl=5:uint32
RequestMeta: node=1:string version=2:string sysdescr=3:string cluster_name=4:string
"""
# TopicFilter.qos and SubOpts.share: reserved since EMQX 5.4, and sent by 5.0 to 5.3.
V2_INSTEAD = """
ClientConnackRequest: conninfo=1:ConnInfo result_code=2:string props=3:*Property meta=4:RequestMeta
ClientConnectRequest: conninfo=1:ConnInfo props=2:*Property meta=3:RequestMeta
ClientSubscribeRequest: clientinfo=1:ClientInfo props=2:*Property topic_filters=3:*TopicFilter \
meta=4:RequestMeta
ClientUnsubscribeRequest: clientinfo=1:ClientInfo props=2:*Property topic_filters=3:*TopicFilter \
meta=4:RequestMeta
MessagePublishRequest: message=1:Message meta=2:RequestMeta
TopicFilter: name=1:B qos=2:uint32 subopts=3:SubOpts
SubOpts: qos=1:uint32 share=2:B rh=3:uint32 rap=4:uint32 nl=5:uint32
"""
V1_GONE = ("ClientAuthorizeRequest", "SessionTakenoverRequest")
V1_INSTEAD = """
ClientCheckAclRequest: clientinfo=1:ClientInfo type=2:AclReqType topic=3:B result=4:bool meta=5:RequestMeta
SessionTakeoveredRequest: clientinfo=1:ClientInfo meta=2:RequestMeta
BrokerInfo: version=1:string sysdescr=2:string uptime=3:string datetime=4:string
ClientInfo: node=1:string clientid=2:B username=3:B password=4:B peerhost=5:string sockport=6:uint32 \
protocol=7:string mountpoint=8:B is_superuser=9:bool anonymous=10:bool cn=11:B dn=12:B
ConnInfo: node=1:string clientid=2:B username=3:B peerhost=4:string sockport=5:uint32 proto_name=6:B \
proto_ver=7:B keepalive=8:uint32
SubOpts: qos=1:uint32 share=2:B rh=3:uint32 rap=4:uint32 nl=5:uint32
TopicFilter: name=1:B qos=2:uint32
"""
RESPONSED_TYPE = {"CONTINUE": 0, "IGNORE": 1, "STOP_AND_RETURN": 2}
REQUEST_TYPE = {"PUBLISH": 0, "SUBSCRIBE": 1}
RESERVED = {
    "v1": {},
    "v2": {},
    "v3": {"TopicFilter": "qos", "SubOpts": "share"},
}

VALUED = ("OnClientAuthenticate", "OnClientAuthorize", "OnClientCheckAcl", "OnMessagePublish")


def table(text: str) -> dict[str, set[str]]:
    rows = (line.partition(":") for line in text.strip().splitlines())
    return {name: set(re.sub(r"(?<=[:,])B\b", "bytes", fields).split()) for name, _, fields in rows}


def facts(version: str) -> dict[str, set[str]]:
    messages = table(V3)
    if version in ("v1", "v2"):
        messages |= table(V2_INSTEAD)
    if version == "v1":
        messages = {name: fields for name, fields in messages.items() if name not in V1_GONE} | table(V1_INSTEAD)
    return messages


def type_name(field: FieldDescriptor) -> str:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return f"map<{type_name(inner.fields_by_name['key'])},{type_name(inner.fields_by_name['value'])}>"
    scalar = {getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name for name in SCALARS}
    plain = inner.name if inner is not None else field.enum_type.name if field.enum_type else scalar[field.type]
    oneof = field.containing_oneof
    if oneof is not None:
        assert oneof.name == "value"
    return ("*" if field.is_repeated else "?" if oneof is not None else "") + plain


SCALARS = ("string", "bytes", "bool", "uint32", "uint64", "int64")


def fields_of(message: Descriptor) -> set[str]:
    return {f"{field.name}={field.number}:{type_name(field)}" for field in message.fields}


def rpcs(version: str) -> dict[str, tuple[str, str]]:
    service = VERSIONS[version].DESCRIPTOR.services_by_name["HookProvider"]
    return {method.name: (method.input_type.name, method.output_type.name) for method in service.methods}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_message_has_the_fields_numbers_and_types_of_the_wire_facts(version: str) -> None:
    descriptor = VERSIONS[version].DESCRIPTOR
    assert descriptor.package == f"emqx.exhook.{version}"
    assert {name: fields_of(message) for name, message in descriptor.message_types_by_name.items()} == facts(version)


@pytest.mark.parametrize("version", VERSIONS)
def test_enums_have_the_values_of_the_wire_facts(version: str) -> None:
    messages = VERSIONS[version].DESCRIPTOR.message_types_by_name
    name, nested = ("ClientCheckAclRequest", "AclReqType") if version == "v1" else (V1_GONE[0], "AuthorizeReqType")
    found = {
        enum.name: {value.name: value.number for value in enum.values}
        for message in messages.values()
        for enum in message.enum_types
    }
    assert found == {"ResponsedType": RESPONSED_TYPE, nested: REQUEST_TYPE}
    assert messages[name].enum_types_by_name[nested].containing_type is messages[name]


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers_and_names_that_were_given_up_stay_reserved(version: str) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415 - its stub is large

    described = FileDescriptorProto()
    VERSIONS[version].DESCRIPTOR.CopyToProto(described)
    reserved = {message.name: list(message.reserved_name) for message in described.message_type}
    numbers = {message.name: [(r.start, r.end) for r in message.reserved_range] for message in described.message_type}
    expected = RESERVED[version]
    assert {name: names for name, names in reserved.items() if names} == {n: [word] for n, word in expected.items()}
    assert {name: ranges for name, ranges in numbers.items() if ranges} == {name: [(2, 3)] for name in expected}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_rpc_takes_and_gives_the_messages_of_the_wire_facts(version: str) -> None:
    requests = [name for name in facts(version) if name.endswith("Request")]
    expected = {f"On{name.removesuffix('Request')}": (name, "EmptySuccess") for name in requests}
    expected |= {name: (request, "ValuedResponse") for name, (request, _) in expected.items() if name in VALUED}
    expected["OnProviderLoaded"] = ("ProviderLoadedRequest", "LoadedResponse")
    assert len(expected) == 21
    assert rpcs(version) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_utf8_comes_through_unchanged(version: str) -> None:
    wire: Any = VERSIONS[version]
    authorize = wire.ClientCheckAclRequest if version == "v1" else wire.ClientAuthorizeRequest
    client = wire.ClientInfo(
        clientid=NOT_UTF8, username=NOT_UTF8, password=NOT_UTF8, mountpoint=NOT_UTF8, cn=NOT_UTF8, dn=NOT_UTF8
    )
    sent = authorize(clientinfo=client, topic=NOT_UTF8, type=1)
    got = authorize.FromString(sent.SerializeToString())
    assert got == sent
    assert {value for field, value in got.clientinfo.ListFields()} == {NOT_UTF8}
    assert got.topic == NOT_UTF8
    message = wire.Message(topic=NOT_UTF8, headers={"username": NOT_UTF8}, **{"from": NOT_UTF8})
    assert wire.Message.FromString(message.SerializeToString()) == message


@pytest.mark.parametrize("version", VERSIONS)
def test_strings_are_left_only_to_what_the_broker_writes(version: str) -> None:
    """A string can fail to decode; the list of those is short and known."""
    messages = VERSIONS[version].DESCRIPTOR.message_types_by_name
    strings = {
        f"{message.name}.{field.name}"
        for message in messages.values()
        for field in message.fields
        if field.type == FieldDescriptor.TYPE_STRING
    }
    ours = {"HookSpec.name", "HookSpec.topics"}
    broker = {f"BrokerInfo.{name}" for name in ("version", "sysdescr", "datetime")}
    broker |= {f"RequestMeta.{name}" for name in ("node", "version", "sysdescr", "cluster_name")}
    broker |= {
        "ConnInfo.node",
        "ConnInfo.peerhost",
        "ClientInfo.node",
        "ClientInfo.peerhost",
        "ClientInfo.protocol",
    }
    broker |= {"Message.node", "Message.id", "ClientConnackRequest.result_code"}
    assert strings == ours | broker | ({"BrokerInfo.uptime"} if version == "v1" else set())


def recorded(name: str) -> Iterator[tuple[str, str, bytes]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield record["action"], record["rpc"], base64.b64decode(record["request"], validate=True)


def unknown(message: Message) -> Iterator[str]:
    if len(unknown_fields.UnknownFieldSet(message)):
        yield message.DESCRIPTOR.name
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is not None and not kind.GetOptions().map_entry:
            for inner in value if field.is_repeated else (value,):
                yield from unknown(inner)


@pytest.mark.parametrize(
    ("name", "version", "count"),
    [("emqx-5.3.2.jsonl.gz", "v2", 463), ("emqx-5.10.0.jsonl.gz", "v3", 227)],
)
def test_every_recorded_request_parses_and_serializes_to_the_same_bytes(name: str, version: str, count: int) -> None:
    methods = rpcs(version)
    seen = 0
    for action, rpc, request in recorded(name):
        service, _, method = rpc.removeprefix("/").partition("/")
        assert service == f"emqx.exhook.{version}.HookProvider"
        message = getattr(VERSIONS[version], methods[method][0]).FromString(request)
        assert list(unknown(message)) == [], action
        assert message.SerializeToString(deterministic=True) == request, action
        seen += 1
    assert seen == count


def test_the_recordings_were_packed_without_a_date() -> None:
    for path in DATA.glob("*.jsonl.gz"):
        assert path.read_bytes()[4:8] == bytes(4), path.name


def test_the_committed_files_are_what_the_compiler_makes(tmp_path: Path) -> None:
    made = generate.generate(tmp_path)
    assert [path.name for path in made] == [
        f"exhook_{name}_pb2{suffix}" for name in ("v1", "v2", "v3", "bridge_v1") for suffix in (".py", ".pyi")
    ]
    for path in made:
        assert path.read_bytes() == (generate.HERE / path.name).read_bytes(), path.name
    assert not list(generate.HERE.glob("*_pb2_grpc.py"))


def test_check_names_the_file_that_is_out_of_date(tmp_path: Path) -> None:
    root = tmp_path / "protos"
    shutil.copytree(generate.HERE, root, ignore=shutil.ignore_patterns("__pycache__"))
    check = [sys.executable, "-m", "protos.generate", "--check"]
    fresh = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (fresh.returncode, fresh.stderr) == (0, "")
    proto = root / "exhook_v2.proto"
    proto.write_text(proto.read_text().replace("uint32 keepalive = 8;", "uint32 keepalive = 18;"))
    (root / "exhook_v3_pb2.pyi").unlink()
    late = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert late.returncode == 1
    assert [line.split()[0] for line in late.stderr.splitlines()] == [
        "protos/exhook_v2_pb2.py",
        "protos/exhook_v3_pb2.pyi",
    ]


def test_without_the_compiler_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert generate.main(["--check"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("generating needs grpcio-tools")
    assert len(error.splitlines()) == 1
