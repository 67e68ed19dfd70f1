"""TensorFlow's C API (``tensorflow/c/c_api.h``, a stable interface), called with ctypes.

Neither the Python package nor its 330,000 objects are loaded: half the memory, a twentieth of the cost of a call, and
a version loads without the interpreter's lock. Long functions release the lock (``CDLL``), short ones keep it
(``PyDLL``): releasing and acquiring it would cost more than they do.
"""

import ctypes
import importlib.util
import os
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cached_property
from pathlib import Path
from typing import Any

LIBRARY = "libtensorflow_cc.so.2"


class Output(ctypes.Structure):
    """``TF_Output``: one tensor of a graph."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class Buffer(ctypes.Structure):
    """``TF_Buffer``: bytes that TensorFlow owns."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


def library_path() -> Path:
    """The library inside the installed ``tensorflow`` package, which is not imported for it.

    Raises:
        FileNotFoundError: there is none.
    """
    spec = importlib.util.find_spec("tensorflow")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    for folder in folders:
        for name in (LIBRARY, "libtensorflow_cc.2.dylib"):
            if (folder / name).exists():
                return folder / name
    raise FileNotFoundError(f"there is no {LIBRARY}: the package tensorflow is not installed")


class TensorFlowC:
    """The C functions in use, each with its types. Attributes are named after them, without ``TF_``."""

    def __init__(self, path: Path) -> None:
        _open(path)
        self._slow = ctypes.CDLL(str(path))
        self._quick = ctypes.PyDLL(str(path))
        quick, slow = self._quick, self._slow
        self.NewStatus = _declare(quick, "TF_NewStatus", c_void_p)
        self.GetCode = _declare(quick, "TF_GetCode", c_int, c_void_p)
        self.Message = _declare(quick, "TF_Message", c_char_p, c_void_p)
        self.DeleteStatus = _declare(quick, "TF_DeleteStatus", None, c_void_p)
        self.AllocateTensor = _declare(quick, "TF_AllocateTensor", c_void_p, c_int, c_void_p, c_int, c_size_t)
        self.DeleteTensor = _declare(quick, "TF_DeleteTensor", None, c_void_p)
        self.TensorData = _declare(quick, "TF_TensorData", c_void_p, c_void_p)
        self.TensorByteSize = _declare(quick, "TF_TensorByteSize", c_size_t, c_void_p)
        self.TensorType = _declare(quick, "TF_TensorType", c_int, c_void_p)
        self.NumDims = _declare(quick, "TF_NumDims", c_int, c_void_p)
        self.Dim = _declare(quick, "TF_Dim", c_int64, c_void_p, c_int)
        self.TensorFromProto = _declare(quick, "TF_TensorFromProto", None, POINTER(Buffer), c_void_p, c_void_p)
        self.StringGetDataPointer = _declare(quick, "TF_StringGetDataPointer", c_void_p, c_void_p)
        self.StringGetSize = _declare(quick, "TF_StringGetSize", c_size_t, c_void_p)
        self.NewGraph = _declare(quick, "TF_NewGraph", c_void_p)
        self.GraphOperationByName = _declare(quick, "TF_GraphOperationByName", c_void_p, c_void_p, c_char_p)
        self.GraphNextOperation = _declare(quick, "TF_GraphNextOperation", c_void_p, c_void_p, POINTER(c_size_t))
        self.OperationOpType = _declare(quick, "TF_OperationOpType", c_char_p, c_void_p)
        self.OperationNumOutputs = _declare(quick, "TF_OperationNumOutputs", c_int, c_void_p)
        self.NewBuffer = _declare(quick, "TF_NewBuffer", POINTER(Buffer))
        self.NewBufferFromString = _declare(quick, "TF_NewBufferFromString", POINTER(Buffer), c_char_p, c_size_t)
        self.DeleteBuffer = _declare(quick, "TF_DeleteBuffer", None, POINTER(Buffer))
        self.NewSessionOptions = _declare(quick, "TF_NewSessionOptions", c_void_p)
        self.SetConfig = _declare(quick, "TF_SetConfig", None, c_void_p, c_char_p, c_size_t, c_void_p)
        self.DeleteSessionOptions = _declare(quick, "TF_DeleteSessionOptions", None, c_void_p)
        self.LoadSessionFromSavedModel = _declare(
            *(slow, "TF_LoadSessionFromSavedModel", c_void_p),
            *(c_void_p, POINTER(Buffer), c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p),
        )
        self.SessionRun = _declare(
            *(slow, "TF_SessionRun", None, c_void_p, POINTER(Buffer)),
            *(POINTER(Output), POINTER(c_void_p), c_int, POINTER(Output), POINTER(c_void_p), c_int),
            *(c_void_p, c_int, POINTER(Buffer), c_void_p),
        )
        self.CloseSession = _declare(slow, "TF_CloseSession", None, c_void_p, c_void_p)
        self.DeleteSession = _declare(slow, "TF_DeleteSession", None, c_void_p, c_void_p)
        self.DeleteGraph = _declare(slow, "TF_DeleteGraph", None, c_void_p)

    @cached_property
    def version(self) -> str:
        version: bytes = _declare(self._quick, "TF_Version", c_char_p)()
        return version.decode()


def _open(path: Path) -> None:
    """Loads the library as any call of C does it: without the interpreter's lock, which ``CDLL`` would hold.

    It takes half a second, and many on a busy machine; status calls are answered meanwhile. Errors of the library are
    raised by ``CDLL`` afterwards.
    """
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = c_void_p, (c_char_p, c_int)
    dlopen(os.fsencode(path), os.RTLD_NOW)


def _declare(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = library[name]
    function.restype, function.argtypes = result, arguments
    return function
