"""Vectors for numba: a few 64-byte registers of neighbouring numbers, handled as one value.

numba turns ``for`` loops into vector instructions where it can prove that it may, and keeps no sum in registers across
two loops. Here vectors are written out instead: ``load`` takes neighbouring columns of a matrix, ``add``, ``sub`` and
``mul`` act on each, ``total`` sums them. What a processor lacks LLVM makes of what it has: on AVX2 such a register is
two, on NEON four.

Compiled kernels are kept on disk beside the file that has them, and numba looks at changes in that file alone: after a
change here or in ``denormals.py``, delete ``__pycache__`` or touch ``steps.py``.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

REGISTER = 512  # bits
FREEDOM = ("reassoc", "contract", "nsz")  # sums in any order, fused multiply-add; NaN and inf stay what they are


class Vector(types.Type):
    """The numba type of ``lanes`` numbers of type ``dtype``."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        number = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(number, vector.lanes))


@intrinsic(prefer_literal=True)
def zeros(context, array, registers):
    """A vector of ``registers`` registers (a constant) of numbers like those of ``array``, all zero."""
    vector = Vector(array.dtype, registers.literal_value * REGISTER // array.dtype.bitwidth)

    def codegen(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array, registers), codegen


@intrinsic
def lanes(context, vector):
    """How many numbers the vector has."""

    def codegen(context, builder, signature, arguments):
        return context.get_constant(types.intp, vector.lanes)

    return types.intp(vector), codegen


@intrinsic
def spread(context, number, like):
    """A vector with ``number`` in each lane, as long as the vector ``like``."""

    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(like)
        empty, first = ir.Constant(kind, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(empty, arguments[0], first)
        return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), like.lanes), None))

    return like(number, like), codegen


@intrinsic
def load(context, matrix, row, column, like):
    """``matrix[row, column:column + lanes]`` of a matrix in C order; as long as the vector ``like``."""

    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(like)
        place = _place(context, builder, signature.args[0], arguments[:3], kind)
        return builder.load(place, align=matrix.dtype.bitwidth // 8)

    return like(matrix, types.intp, types.intp, like), codegen


@intrinsic
def store(context, vector, matrix, row, column):
    """``matrix[row, column:column + lanes] = vector``."""

    def codegen(context, builder, signature, arguments):
        place = _place(context, builder, signature.args[1], arguments[1:], arguments[0].type)
        builder.store(arguments[0], place, align=matrix.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vector, matrix, types.intp, types.intp), codegen


def _place(context, builder, type_, arguments, kind):
    """The address of ``matrix[row, column]``, as one of vectors."""
    matrix, row, column = arguments
    matrix = context.make_array(type_)(context, builder, matrix)
    width = builder.extract_value(matrix.shape, 1)
    offset = builder.add(builder.mul(row, width), column)
    return builder.bitcast(builder.gep(matrix.data, [offset], inbounds=True), kind.as_pointer())


def _lane_by_lane(operation):
    @intrinsic
    def operate(context, a, b):
        def codegen(context, builder, signature, arguments):
            return getattr(builder, operation)(*arguments, flags=FREEDOM)

        return a(a, b), codegen

    return operate


add, sub, mul = _lane_by_lane("fadd"), _lane_by_lane("fsub"), _lane_by_lane("fmul")


@intrinsic
def total(context, vector):
    """The sum over the lanes."""

    def codegen(context, builder, signature, arguments):
        kind = arguments[0].type
        name = f"llvm.vector.reduce.fadd.v{kind.count}f{vector.dtype.bitwidth}"
        reduce = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind.element, [kind.element, kind]), name
        )
        return builder.call(reduce, [ir.Constant(kind.element, 0.0), arguments[0]], fastmath=FREEDOM)

    return vector.dtype(vector), codegen
