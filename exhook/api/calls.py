"""The calls of the API: name, methods, and what answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exhook.api import blacklist, device_credentials, groups, identities, permissions, tokens
from exhook.api.caller import Caller
from exhook.api.parameters import Parameters
from exhook.api.refusal import Refusal
from exhook.api.writer import Body
from store.database import Database
from store.writing import Writing

VERSION: Final = "2020-04-20"
"""Of the vendor's product OnsMqtt."""

_POST: Final = frozenset({"POST"})
_BOTH: Final = frozenset({"POST", "GET"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `prepare` reads the parameters, and gives what reads or writes the store."""

    name: str
    methods: frozenset[str]
    writes: bool
    prepare: Callable[[Parameters, Caller, str], Callable[[Any], Body]]


def _writing(
    name: str, prepare: Callable[[Parameters, Caller, str], Callable[[Writing], Body]], methods: frozenset[str] = _POST
) -> Call:
    return Call(name, methods, writes=True, prepare=prepare)


def _reading(name: str, prepare: Callable[[Parameters, Caller, str], Callable[[Database], Body]]) -> Call:
    return Call(name, _BOTH, writes=False, prepare=prepare)


CALLS: Final[Mapping[str, Call]] = {
    call.name: call
    for call in (
        _writing("AddCustomAuthIdentity", identities.add),
        _writing("UpdateCustomAuthIdentity", identities.update),
        _writing("DeleteCustomAuthIdentity", identities.delete),
        _reading("QueryCustomAuthIdentity", identities.query),
        _writing("AddCustomAuthPermission", permissions.add),
        _writing("UpdateCustomAuthPermission", permissions.update),
        _writing("DeleteCustomAuthPermission", permissions.delete),
        _reading("QueryCustomAuthPermission", permissions.query),
        _writing("AddCustomAuthConnectBlack", blacklist.add),
        _writing("DeleteCustomAuthConnectBlack", blacklist.delete),
        _reading("QueryCustomAuthConnectBlack", blacklist.query),
        _writing("ApplyToken", tokens.apply),
        _reading("QueryToken", tokens.query),
        _writing("RevokeToken", tokens.revoke, _BOTH),
        _writing("RegisterDeviceCredential", device_credentials.register),
        _reading("GetDeviceCredential", device_credentials.get),
        _writing("RefreshDeviceCredential", device_credentials.refresh),
        _writing("UnRegisterDeviceCredential", device_credentials.unregister),
        _reading("ListDeviceCredentialClientId", device_credentials.query),
        _writing("CreateGroupId", groups.create),
        _writing("DeleteGroupId", groups.delete),
        _reading("ListGroupId", groups.query),
    )
}

NOT_OURS: Final = frozenset({
    "ActiveCaCertificate", "ActiveDeviceCertificate", "BatchQuerySessionByClientIds", "CloseConnection",
    "DeleteCaCertificate", "DeleteDeviceCertificate", "DisasterDowngrade", "DisasterRecovery", "GetCaCertificate",
    "GetDeviceCertificate", "GetRegisterCode", "InactivateCaCertificate", "InactivateDeviceCertificate",
    "ListCaCertificate", "ListDeviceCertificate", "ListDeviceCertificateByCaSn", "ListInstances", "ListTagResources",
    "QueryMqttTraceDevice", "QueryMqttTraceMessageOfClient", "QueryMqttTraceMessagePublish",
    "QueryMqttTraceMessageSubscribe", "QuerySessionByClientId", "RegisterCaCertificate", "SendMessage",
    "SetSniConfig", "TagResources", "UntagResources",
})  # fmt: skip
"""Calls of the vendor's that are not about who may do what."""


def find(action: str, version: str, method: str) -> Call:
    """The call that a request names.

    Raises:
        Refusal: there is none, or it is not made by this method.
    """
    if action in NOT_OURS:
        raise Refusal("ApiNotSupport", f"{action} is not supported here", status=404)
    call = CALLS.get(action)
    if call is None or version != VERSION:
        raise Refusal("InvalidApi.NotFound", f"there is no such call in version {VERSION}", status=404)
    if method not in call.methods:
        raise Refusal("InvalidApi.NotFound", f"{action} is called by {' or '.join(sorted(call.methods))}", status=404)
    return call
