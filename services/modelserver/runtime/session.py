"""One loaded graph, run through TensorFlow's C API: tensors in, tensors out, by their names in the graph.

The loader and the session are the ones that TensorFlow Serving uses (``cc/saved_model/loader.cc``,
``direct_session.cc``), so their errors are the same.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from modelyard.models.tfserving.messages import tensor_pb2, types_pb2
from modelyard.services.modelserver.errors import Refused, convert_code
from modelyard.services.modelserver.runtime.tensor import ITEM_BYTES, STRING, Tensor
from modelyard.services.modelserver.runtime.tensorflow_c import Output, TensorFlowC

STRING_BYTES = 24
"""``sizeof(TF_TString)``."""


@dataclass(frozen=True)
class Plan:
    """Inputs and outputs of a run in the graph, looked up once for each combination of names."""

    inputs: Any
    outputs: Any


class Session:
    """A graph with its variables. ``run()`` may be called from many threads; ``close()`` after the last of them."""

    def __init__(self, c: TensorFlowC, folder: Path, tags: Sequence[str], config: bytes, run_options: bytes) -> None:
        """Loads. ``config`` is a ``ConfigProto``, ``run_options`` a ``RunOptions``, both serialized.

        Raises:
            Refused: TensorFlow's own code and message.
        """
        self._c = c
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], Plan] = {}
        self._run_options = c.NewBufferFromString(run_options, len(run_options)) if run_options else None
        self._graph = c.NewGraph()
        self._session, self.meta_graph = self._load(folder, tags, config)
        """``meta_graph`` is the ``MetaGraphDef`` that was loaded, serialized."""

    def run(self, feeds: Mapping[str, Tensor], fetches: tuple[str, ...]) -> list[Tensor]:
        """Runs the graph in this thread, without the interpreter's lock.

        Args:
            feeds: values by the names that tensors have in the graph, ``name:index``.
            fetches: such names.

        Raises:
            Refused: TensorFlow's own code and message.
        """
        plan = self._plan(tuple(feeds), fetches)
        status = self._c.NewStatus()
        inputs = (ctypes.c_void_p * len(feeds))()
        outputs = (ctypes.c_void_p * len(fetches))()
        try:
            for position, tensor in enumerate(feeds.values()):
                inputs[position] = self._strings(tensor) if tensor.dtype == STRING else self._numbers(tensor)
            self._c.SessionRun(
                *(self._session, self._run_options),
                *(plan.inputs, inputs, len(feeds), plan.outputs, outputs, len(fetches)),
                *(None, 0, None, status),
            )
            self._check(status)
            return [self._read(pointer) for pointer in outputs]
        finally:
            for pointer in (*inputs, *outputs):
                if pointer:
                    self._c.DeleteTensor(pointer)
            self._c.DeleteStatus(status)

    def operation_types(self) -> frozenset[str]:
        """Types of the operations in the graph, those inside functions aside."""
        position, found = ctypes.c_size_t(0), set()
        while operation := self._c.GraphNextOperation(self._graph, ctypes.byref(position)):
            found.add(self._c.OperationOpType(operation).decode())
        return frozenset(found)

    def close(self) -> None:
        """Frees the graph and its variables."""
        status = self._c.NewStatus()
        self._c.CloseSession(self._session, status)
        self._c.DeleteSession(self._session, status)
        self._c.DeleteStatus(status)
        self._c.DeleteGraph(self._graph)

    # --- loading ----------------------------------------------------------------------------------------------------

    def _load(self, folder: Path, tags: Sequence[str], config: bytes) -> tuple[Any, bytes]:
        c, status = self._c, self._c.NewStatus()
        options = c.NewSessionOptions()
        meta_graph = c.NewBuffer()
        try:
            c.SetConfig(options, config, len(config), status)
            self._check(status)
            encoded = [tag.encode() for tag in tags]
            session = c.LoadSessionFromSavedModel(
                *(options, None, str(folder).encode(), (ctypes.c_char_p * len(tags))(*encoded), len(tags)),
                *(self._graph, meta_graph, status),
            )
            self._check(status)
            loaded = meta_graph.contents
            return session, ctypes.string_at(loaded.data, loaded.length)
        except Refused:
            c.DeleteGraph(self._graph)
            raise
        finally:
            c.DeleteStatus(status)
            c.DeleteBuffer(meta_graph)
            c.DeleteSessionOptions(options)

    def _plan(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Plan:
        plan = self._plans.get((feeds, fetches))
        if plan is None:
            plan = Plan(self._outputs(feeds), self._outputs(fetches))
            self._plans[feeds, fetches] = plan
        return plan

    def _outputs(self, names: Sequence[str]) -> Any:
        return (Output * len(names))(*map(self._output, names))

    def _output(self, name: str) -> Output:
        operation, _, index = name.partition(":")
        found = self._c.GraphOperationByName(self._graph, operation.encode())
        if not found or int(index or 0) >= self._c.OperationNumOutputs(found):
            message = f"Tensor {name}, specified in either feed_devices or fetch_devices was not found in the Graph"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
        return Output(found, int(index or 0))

    # --- values -----------------------------------------------------------------------------------------------------

    def _numbers(self, tensor: Tensor) -> Any:
        """A copy in TensorFlow's own memory, which is aligned to 64 bytes: it would copy any other by itself."""
        c, rank, content = self._c, len(tensor.shape), tensor.raw
        size = content.nbytes if isinstance(content, memoryview) else len(content)
        pointer = c.AllocateTensor(tensor.dtype, (ctypes.c_int64 * rank)(*tensor.shape), rank, size)
        if size:
            memory = (ctypes.c_ubyte * size).from_address(c.TensorData(pointer))
            memoryview(memory).cast("B")[:] = content  # of an array's memory, without bytes in between
        return pointer

    def _strings(self, tensor: Tensor) -> Any:
        """Built by TensorFlow itself, which then also frees each string when nothing refers to it any more."""
        c = self._c
        proto = tensor_pb2.TensorProto(dtype=STRING, string_val=tensor.strings)
        for size in tensor.shape:
            proto.tensor_shape.dim.add(size=size)
        encoded = proto.SerializeToString()
        buffer, status = c.NewBufferFromString(encoded, len(encoded)), c.NewStatus()
        pointer = c.AllocateTensor(types_pb2.DT_INT8, None, 0, 1)  # its content is replaced as a whole
        try:
            c.TensorFromProto(buffer, pointer, status)
            self._check(status)
        finally:
            c.DeleteBuffer(buffer)
            c.DeleteStatus(status)
        return pointer

    def _read(self, pointer: Any) -> Tensor:
        c = self._c
        dtype = c.TensorType(pointer)
        shape = tuple([c.Dim(pointer, axis) for axis in range(c.NumDims(pointer))])
        start = c.TensorData(pointer)
        size = c.TensorByteSize(pointer)
        if dtype == STRING:
            items = range(start or 0, (start or 0) + size, STRING_BYTES)
            return Tensor(STRING, shape, [self._string(item) for item in items])
        if dtype not in ITEM_BYTES:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"tensors of type {dtype} are not supported")
        return Tensor(dtype, shape, ctypes.string_at(start, size) if size else b"")

    def _string(self, item: int) -> bytes:
        return ctypes.string_at(self._c.StringGetDataPointer(item), self._c.StringGetSize(item))

    def _check(self, status: Any) -> None:
        code = self._c.GetCode(status)
        if code:
            raise Refused(convert_code(code), self._c.Message(status).decode(errors="replace"))
