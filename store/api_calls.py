"""The calls of the management API that an access key may be given (vendor's names, product OnsMqtt, 2020-04-20)."""

from typing import Final

CALLS: Final = (
    "AddCustomAuthIdentity",
    "UpdateCustomAuthIdentity",
    "DeleteCustomAuthIdentity",
    "QueryCustomAuthIdentity",
    "AddCustomAuthPermission",
    "UpdateCustomAuthPermission",
    "DeleteCustomAuthPermission",
    "QueryCustomAuthPermission",
    "AddCustomAuthConnectBlack",
    "DeleteCustomAuthConnectBlack",
    "QueryCustomAuthConnectBlack",
    "ApplyToken",
    "QueryToken",
    "RevokeToken",
    "RegisterDeviceCredential",
    "GetDeviceCredential",
    "RefreshDeviceCredential",
    "UnRegisterDeviceCredential",
    "ListDeviceCredentialClientId",
    "CreateGroupId",
    "DeleteGroupId",
    "ListGroupId",
)
"""There is no word for all of them: a key would come to sign what a later version adds."""
