# mypy: disable-error-code="type-arg,no-untyped-def"
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangesRequest(_message.Message):
    __slots__ = ("instance", "store", "since", "certificate")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    instance: str
    store: str
    since: int
    certificate: bool
    def __init__(self, instance: _Optional[str] = ..., store: _Optional[str] = ..., since: _Optional[int] = ..., certificate: _Optional[bool] = ...) -> None: ...

class ChangesResponse(_message.Message):
    __slots__ = ("store", "revision", "everyone", "losses")
    STORE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EVERYONE_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    store: str
    revision: int
    everyone: bool
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    def __init__(self, store: _Optional[str] = ..., revision: _Optional[int] = ..., everyone: _Optional[bool] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("kind", "name")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Loss.Kind]
        USER: _ClassVar[Loss.Kind]
        CLIENT: _ClassVar[Loss.Kind]
        GROUP: _ClassVar[Loss.Kind]
        ACCESS_KEY: _ClassVar[Loss.Kind]
    KIND_UNSPECIFIED: Loss.Kind
    USER: Loss.Kind
    CLIENT: Loss.Kind
    GROUP: Loss.Kind
    ACCESS_KEY: Loss.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: Loss.Kind
    name: str
    def __init__(self, kind: _Optional[_Union[Loss.Kind, str]] = ..., name: _Optional[str] = ...) -> None: ...
