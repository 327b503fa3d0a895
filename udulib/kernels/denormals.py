"""Flushing of denormals, the numbers too small for full precision: x86 processors take a hundred times longer on them.

UDU makes many: columns that X has no use for decay by a constant factor a step until they underflow.
"""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

X86 = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere denormals cost little, and nothing is done
FLUSH = 0x8040  # of the control register MXCSR: take denormals as zero (0x40) and give zero for them (0x8000)


@intrinsic
def flush_denormals(context):
    """Flush denormals from here on, in this thread; returns what ``restore_denormals`` wants."""

    def codegen(context, builder, signature, arguments):
        before = _control(builder, "stmxcsr")
        _control(builder, "ldmxcsr", builder.or_(before, ir.Constant(before.type, FLUSH)))
        return before

    return types.uint32(), codegen


@intrinsic
def restore_denormals(context, before):
    """Handle denormals as they were handled before."""

    def codegen(context, builder, signature, arguments):
        _control(builder, "ldmxcsr", arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint32), codegen


def _control(builder, instruction, value=None):
    """Store the control register in memory and return it, or load it from there."""
    word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    place = cgutils.alloca_once_value(builder, ir.Constant(word, 0) if value is None else value)
    if X86:
        function = ir.FunctionType(ir.VoidType(), [pointer])
        name = f"llvm.x86.sse.{instruction}"
        builder.call(cgutils.get_or_insert_function(builder.module, function, name), [builder.bitcast(place, pointer)])
    return builder.load(place)
