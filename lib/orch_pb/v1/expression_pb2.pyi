from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckedExpression(_message.Message):
    __slots__ = ("reference_map", "expr")
    class Reference(_message.Message):
        __slots__ = ("overload_id",)
        OVERLOAD_ID_FIELD_NUMBER: _ClassVar[int]
        overload_id: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, overload_id: _Optional[_Iterable[str]] = ...) -> None: ...
    class ReferenceMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: CheckedExpression.Reference
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[CheckedExpression.Reference, _Mapping]] = ...) -> None: ...
    REFERENCE_MAP_FIELD_NUMBER: _ClassVar[int]
    EXPR_FIELD_NUMBER: _ClassVar[int]
    reference_map: _containers.MessageMap[int, CheckedExpression.Reference]
    expr: Expression
    def __init__(self, reference_map: _Optional[_Mapping[int, CheckedExpression.Reference]] = ..., expr: _Optional[_Union[Expression, _Mapping]] = ...) -> None: ...

class Expression(_message.Message):
    __slots__ = ("id", "const_expr", "ident_expr", "select_expr", "call_expr", "list_expr", "struct_expr", "comprehension_expr")
    class Constant(_message.Message):
        __slots__ = ("null_value", "bool_value", "int64_value", "uint64_value", "double_value", "string_value", "bytes_value")
        NULL_VALUE_FIELD_NUMBER: _ClassVar[int]
        BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
        INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
        UINT64_VALUE_FIELD_NUMBER: _ClassVar[int]
        DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
        STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
        BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
        null_value: int
        bool_value: bool
        int64_value: int
        uint64_value: int
        double_value: float
        string_value: str
        bytes_value: bytes
        def __init__(self, null_value: _Optional[int] = ..., bool_value: _Optional[bool] = ..., int64_value: _Optional[int] = ..., uint64_value: _Optional[int] = ..., double_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ...) -> None: ...
    class Ident(_message.Message):
        __slots__ = ("name",)
        NAME_FIELD_NUMBER: _ClassVar[int]
        name: str
        def __init__(self, name: _Optional[str] = ...) -> None: ...
    class Select(_message.Message):
        __slots__ = ("operand", "field", "test_only")
        OPERAND_FIELD_NUMBER: _ClassVar[int]
        FIELD_FIELD_NUMBER: _ClassVar[int]
        TEST_ONLY_FIELD_NUMBER: _ClassVar[int]
        operand: Expression
        field: str
        test_only: bool
        def __init__(self, operand: _Optional[_Union[Expression, _Mapping]] = ..., field: _Optional[str] = ..., test_only: _Optional[bool] = ...) -> None: ...
    class Call(_message.Message):
        __slots__ = ("target", "function", "args")
        TARGET_FIELD_NUMBER: _ClassVar[int]
        FUNCTION_FIELD_NUMBER: _ClassVar[int]
        ARGS_FIELD_NUMBER: _ClassVar[int]
        target: Expression
        function: str
        args: _containers.RepeatedCompositeFieldContainer[Expression]
        def __init__(self, target: _Optional[_Union[Expression, _Mapping]] = ..., function: _Optional[str] = ..., args: _Optional[_Iterable[_Union[Expression, _Mapping]]] = ...) -> None: ...
    class List(_message.Message):
        __slots__ = ("elements",)
        ELEMENTS_FIELD_NUMBER: _ClassVar[int]
        elements: _containers.RepeatedCompositeFieldContainer[Expression]
        def __init__(self, elements: _Optional[_Iterable[_Union[Expression, _Mapping]]] = ...) -> None: ...
    class Struct(_message.Message):
        __slots__ = ("message_name", "entries")
        class Entry(_message.Message):
            __slots__ = ("map_key", "value")
            MAP_KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            map_key: Expression
            value: Expression
            def __init__(self, map_key: _Optional[_Union[Expression, _Mapping]] = ..., value: _Optional[_Union[Expression, _Mapping]] = ...) -> None: ...
        MESSAGE_NAME_FIELD_NUMBER: _ClassVar[int]
        ENTRIES_FIELD_NUMBER: _ClassVar[int]
        message_name: str
        entries: _containers.RepeatedCompositeFieldContainer[Expression.Struct.Entry]
        def __init__(self, message_name: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Expression.Struct.Entry, _Mapping]]] = ...) -> None: ...
    class Comprehension(_message.Message):
        __slots__ = ("iter_var", "iter_range", "accu_var", "accu_init", "loop_condition", "loop_step", "result", "iter_var2")
        ITER_VAR_FIELD_NUMBER: _ClassVar[int]
        ITER_RANGE_FIELD_NUMBER: _ClassVar[int]
        ACCU_VAR_FIELD_NUMBER: _ClassVar[int]
        ACCU_INIT_FIELD_NUMBER: _ClassVar[int]
        LOOP_CONDITION_FIELD_NUMBER: _ClassVar[int]
        LOOP_STEP_FIELD_NUMBER: _ClassVar[int]
        RESULT_FIELD_NUMBER: _ClassVar[int]
        ITER_VAR2_FIELD_NUMBER: _ClassVar[int]
        iter_var: str
        iter_range: Expression
        accu_var: str
        accu_init: Expression
        loop_condition: Expression
        loop_step: Expression
        result: Expression
        iter_var2: str
        def __init__(self, iter_var: _Optional[str] = ..., iter_range: _Optional[_Union[Expression, _Mapping]] = ..., accu_var: _Optional[str] = ..., accu_init: _Optional[_Union[Expression, _Mapping]] = ..., loop_condition: _Optional[_Union[Expression, _Mapping]] = ..., loop_step: _Optional[_Union[Expression, _Mapping]] = ..., result: _Optional[_Union[Expression, _Mapping]] = ..., iter_var2: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CONST_EXPR_FIELD_NUMBER: _ClassVar[int]
    IDENT_EXPR_FIELD_NUMBER: _ClassVar[int]
    SELECT_EXPR_FIELD_NUMBER: _ClassVar[int]
    CALL_EXPR_FIELD_NUMBER: _ClassVar[int]
    LIST_EXPR_FIELD_NUMBER: _ClassVar[int]
    STRUCT_EXPR_FIELD_NUMBER: _ClassVar[int]
    COMPREHENSION_EXPR_FIELD_NUMBER: _ClassVar[int]
    id: int
    const_expr: Expression.Constant
    ident_expr: Expression.Ident
    select_expr: Expression.Select
    call_expr: Expression.Call
    list_expr: Expression.List
    struct_expr: Expression.Struct
    comprehension_expr: Expression.Comprehension
    def __init__(self, id: _Optional[int] = ..., const_expr: _Optional[_Union[Expression.Constant, _Mapping]] = ..., ident_expr: _Optional[_Union[Expression.Ident, _Mapping]] = ..., select_expr: _Optional[_Union[Expression.Select, _Mapping]] = ..., call_expr: _Optional[_Union[Expression.Call, _Mapping]] = ..., list_expr: _Optional[_Union[Expression.List, _Mapping]] = ..., struct_expr: _Optional[_Union[Expression.Struct, _Mapping]] = ..., comprehension_expr: _Optional[_Union[Expression.Comprehension, _Mapping]] = ...) -> None: ...
