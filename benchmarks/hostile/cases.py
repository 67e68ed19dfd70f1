"""What ``benchmarks.hostile`` sends: bodies and headers that are as dear to read as any that a caller can think of.

Each case is what one caller sends at once. Sizes are just within the limits of the gateway where those are known, and
beyond them elsewhere; whatever is answered, the event loop must not be held meanwhile.
"""

import base64
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from benchmarks.hostile.pictures import jpeg_of_segments, png_chunk, png_of_chunks
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS

MB = 1024 * 1024
EXTERNAL = "external"
"""A model without a manifest: its shapes and types are the model server's."""
STRINGS = "external_strings"
"""The same, for strings of any shape."""
JSON, CSV, LINES, FORM = "application/json", "text/csv", "application/jsonl", "multipart/form-data; boundary=b"
MAX_ELEMENTS = 262_144
"""The gateway's limit of values, which a body may just reach."""
BULK_S = 3.0
"""Endless bodies end after this."""


@dataclass(frozen=True)
class Case:
    """One request, or several at once."""

    name: str
    path: str
    content_type: str
    make: Callable[[], bytes]
    """The body."""
    headers: tuple[str, ...] = ()
    chunk_bytes: int | None = None
    """Send it in chunks of so many bytes, instead of with its length."""
    copies: int = 1
    """Sent at the same time, on connections of their own."""
    method: str = "POST"
    pipelined: int = 1
    """So often in one packet, on one connection."""


def predict(model: str, query: str = "") -> str:
    return f"/v1/models/{model}:predict{query}"


def infer(model: str) -> str:
    return f"/v2/models/{model}/infer"


def filled(head: bytes, unit: bytes, tail: bytes, size: int) -> Callable[[], bytes]:
    """``head``, then ``unit`` again and again, then ``tail``: about so many bytes."""
    return lambda: head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def json_cases(size: int, mark: str) -> Iterator[Case]:
    """JSON of about one size, to every kind of model."""
    bodies = {
        "numbers": filled(b'{"instances":[[1]', b",[1.2345678]", b"]}", size),
        "numbers, the last one wrong": filled(b'{"instances":[[1]', b",[1]", b',["x"]]}', size),
        "lists of different lengths": filled(b'{"instances":[[1]', b",[1]", b",[1,2]]}", size),
        "one long row": filled(b'{"instances":[[1', b",1", b"]]}", size),
        "columns": filled(b'{"inputs":[[1]', b",[1]", b"]}", size),
        "empty lists": filled(b'{"instances":[[]', b",[]", b"]}", size),
        "empty objects": filled(b'{"instances":[{}', b",{}", b"]}", size),
        "objects of one key": filled(b'{"instances":[{"vectors":[1]}', b',{"vectors":[1]}', b"]}", size),
        "null": filled(b'{"instances":[null', b",null", b"]}", size),
        "strings": filled(b'{"instances":["a"', b',"a"', b"]}", size),
        "strings in columns": filled(b'{"inputs":["a"', b',"a"', b"]}", size),
        "base64": filled(b'{"instances":[{"b64":"AAAA"}', b',{"b64":"AAAA"}', b"]}", size),
        "base64 in columns": filled(b'{"inputs":[{"b64":"AAAA"}', b',{"b64":"AAAA"}', b"]}", size),
        "one long base64": filled(b'{"instances":[{"b64":"', b"AAAA", b'"}]}', size),
        "base64 with spaces": filled(b'{"instances":[{"b64":"', b"AA A A ", b'"}]}', size),
        "open brackets": filled(b"", b"[", b"", size),
        "nested to the limit": filled(b'{"instances":[' + b"[" * 28, b"[],", b"[]" + b"]" * 28 + b"]}", size),
        "many keys": lambda: b"{" + b",".join(b'"%x":1' % n for n in range(size // 11)) + b"}",
        "escaped quotes without an end": filled(b'{"instances":["', b'\\"', b"", size),
        "backslashes without an end": filled(b'{"instances":["', b"\\\\", b"", size),
        "escapes": filled(b'{"instances":["', b"\\u00e4", b'"]}', size),
        "a long number": filled(b'{"instances":[[', b"1", b"]]}", size),
        "long fractions": filled(b'{"instances":[[1]', b",[0." + b"1" * 780 + b"]", b"]}", size),
        "spaces": filled(b'{"instances":[[1.0]', b" ", b"]}", size),
        "not UTF-8 at the end": filled(b'{"instances":["', b"a", b'\xff"]}', size),
    }
    for name, make in bodies.items():
        for model in (HALF_PLUS, REVIEWS, DIGITS, EXTERNAL, STRINGS):
            yield Case(f"JSON {mark}, {name}, to {model}", predict(model), JSON, make)
    for name in ("empty lists", "strings", "numbers", "base64"):
        yield Case(f"JSON {mark}, {name}, labels", predict(REVIEWS, "?labels=true"), JSON, bodies[name])
    for kind, text in (("FP32", b"1.5,"), ("BYTES", b'"a",'), ("FP32", b"[],"), ("BYTES", b'"\\"')):
        head = b'{"inputs":[{"name":"vectors","shape":[200000,1],"datatype":"%s","data":[' % kind.encode()
        for model in (HALF_PLUS, EXTERNAL, STRINGS):
            yield Case(
                f"V2 {mark}, {text!r}, to {model}", infer(model), JSON, filled(head, text, text[:-1] + b"]}]}", size)
            )
    yield Case(f"V2 {mark}, many inputs", infer(HALF_PLUS), JSON, filled(b'{"inputs":[{}', b",{}", b"]}", size))
    yield Case(
        f"V2 {mark}, many outputs", infer(HALF_PLUS), JSON, filled(b'{"inputs":[],"outputs":[{}', b",{}", b"]}", size)
    )
    yield Case(
        f"V2 {mark}, many sizes", infer(HALF_PLUS), JSON,
        filled(b'{"inputs":[{"name":"vectors","datatype":"FP32","shape":[1', b",1", b'],"data":[1]}]}', size),
    )  # fmt: skip
    for verb in ("classify", "regress"):
        for unit in (b'{"a":1}', b"{}", b'{"a":[]}'):
            make = filled(b'{"examples":[' + unit, b"," + unit, b"]}", size)
            yield Case(f":{verb} {mark}, {unit.decode()}", f"/v1/models/{EXTERNAL}:{verb}", JSON, make)
    yield Case(
        f":classify {mark}, many values", f"/v1/models/{EXTERNAL}:classify", JSON,
        filled(b'{"examples":[{"a":[1', b",1", b"]}]}", size),
    )  # fmt: skip


def csv_cases(size: int) -> Iterator[Case]:
    for name, unit in (("lines", b"1\n"), ("cells", b"1,"), ("quotes", b'"'), ("quoted", b'"1",'), ("header", b"a,")):
        for model in (HALF_PLUS, EXTERNAL):
            yield Case(f"CSV, {name}, to {model}", predict(model), CSV, filled(b"", unit, b"", size))


def multipart_cases() -> Iterator[Case]:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.png"\r\n\r\n'
    bodies = {
        "one header of 15 MB": filled(b"--b\r\nX: ", b"y", b"\r\n\r\nbody\r\n--b--\r\n", 15 * MB),
        "many headers": filled(b"--b\r\n", b"X: y\r\n", b"\r\nbody\r\n--b--\r\n", 15 * MB),
        "line breaks in a header": filled(b"--b\r\nX: ", b"\r\n ", b"\r\n\r\nbody\r\n--b--\r\n", 15 * MB),
        "preamble": filled(b"", b"-", b"", 15 * MB),
        "preamble of boundaries": filled(b"", b"\r\n--c", b"", 15 * MB),
        "almost boundaries": filled(part, b"\r\n--", b"\r\n--b--\r\n", 15 * MB),
        "line breaks": filled(part, b"\n", b"\r\n--b--\r\n", 15 * MB),
        "boundaries with spaces": filled(part + b"x\r\n--b", b" ", b"\r\n", 15 * MB),
        "empty parts": filled(b"", part + b"\r\n", b"--b--\r\n", 1 * MB),
        "a header of parameters": filled(
            b"--b\r\nContent-Disposition: form-data", b"; a=b", b"\r\n\r\n\r\n--b--\r\n", MB
        ),
        "an encoded file name": filled(
            b"--b\r\nContent-Disposition: form-data; name=f; filename*=utf-8''", b"%41", b"\r\n\r\n\r\n--b--\r\n", MB
        ),
        "texts": lambda: (part + b"good " * 3000 + b"\r\n") * 10 + b"--b--\r\n",
        "images": lambda: (part + png_of_chunks(1_500_000) + b"\r\n") * 10 + b"--b--\r\n",
    }
    for name, make in bodies.items():
        for model in (REVIEWS, DIGITS):
            yield Case(f"form, {name}, to {model}", predict(model), FORM, make)


def image_cases() -> Iterator[Case]:
    size = 2 * MB - 1000
    zipped = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MB - 1)))
    international = png_chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(MB - 1)))
    bodies = {
        "PNG of tEXt chunks": lambda: png_of_chunks(size),
        "PNG of unknown chunks": lambda: png_of_chunks(size, png_chunk(b"abCd", b"")),
        "PNG of palettes": lambda: png_of_chunks(size, png_chunk(b"PLTE", b"aaa")),
        "PNG of compressed texts": lambda: png_of_chunks(size, zipped),
        "PNG of compressed international texts": lambda: png_of_chunks(size, international),
        "PNG of profiles": lambda: png_of_chunks(size, png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(MB - 1)))),
        "PNG without an end": lambda: png_of_chunks(size)[:-12],
        "JPEG of segments": lambda: jpeg_of_segments(size),
        "JPEG of fill bytes": lambda: b"\xff\xd8" + b"\xff" * (size - 4) + b"\xff\xd9",
    }
    for name, make in bodies.items():
        kind = "image/png" if "PNG" in name else "image/jpeg"
        yield Case(name, predict(DIGITS), kind, make)
    small = b",".join(b'{"b64":"%s"}' % base64.b64encode(png_of_chunks(3000)) for _ in range(200))
    yield Case(
        "JSON of PNGs", predict(DIGITS), JSON, lambda: b'{"instances":[' + small + b'],"signature_name":"image_bytes"}'
    )


def text_cases() -> Iterator[Case]:
    for name, unit, tail in (("spaces", b" ", b""), ("not UTF-8", b"a", b"\xff"), ("long", "ä".encode(), b"")):
        yield Case(f"text, {name}", predict(REVIEWS), "text/plain", filled(b"", unit, tail, MB - 10))


def binary_cases() -> Iterator[Case]:
    size = 15 * MB
    for kind, item in (
        ("BYTES", b"\0\0\0\0"),
        ("BYTES", b"\1\0\0\0a"),
        ("FP32", b"\0\0\x80?"),
        ("FP32", b"\xff\xff\xff\xff"),
    ):
        for count, model in product((size // len(item), MAX_ELEMENTS), (HALF_PLUS, EXTERNAL, STRINGS)):
            head = (
                b'{"inputs":[{"name":"vectors","shape":[%d],"datatype":"%s","parameters":{"binary_data_size":%d}}]}'
                % (count, kind.encode(), count * len(item))
            )
            yield Case(
                f"V2 binary, {count} x {kind} {item!r}, to {model}", infer(model), "application/octet-stream",
                lambda head=head, item=item, count=count: head + item * count,  # type: ignore[misc]
                (f"Inference-Header-Content-Length: {len(head)}",),
            )  # fmt: skip


def compressed_cases() -> Iterator[Case]:
    bomb = gzip.compress(b" " * 512 * MB, 9)
    lines = gzip.compress(b"\n" * 512 * MB, 9)
    rows = gzip.compress(b"[1]\n" * 20 * MB, 9)
    empty = zlib.compressobj(wbits=31)
    blocks = empty.compress(b"{") + empty.flush(zlib.Z_FULL_FLUSH) + b"\0\0\0\xff\xff" * (3 * MB)
    body = gzip.compress(b'{"instances":[' + b"[1]," * 250_000 + b"[1]]}")
    form = gzip.compress(b"--b\r\nX: " + b"y" * 15 * MB)
    for name, content, kind in (
        ("bomb", bomb, JSON), ("empty blocks", blocks, JSON), ("JSON", body, JSON), ("form", form, FORM),
        ("bomb of lines", lines, LINES), ("bomb of rows", rows, LINES), ("bomb in one line", bomb, LINES),
        ("empty blocks of lines", blocks, LINES),
    ):  # fmt: skip
        model = REVIEWS if kind == FORM else HALF_PLUS
        headers = ("Content-Encoding: gzip",)
        yield Case(f"gzip, {name}", predict(model), kind, lambda content=content: content, headers)  # type: ignore[misc]
    yield Case("gzip, bomb to a control route", "/api/jobs", JSON, lambda: bomb, headers)


def line_cases() -> Iterator[Case]:
    units = {
        "empty": b"\n", "numbers": b"[1]\n", "wrong": b"{}\n", "rows of empty lists": b"[" + b"[]," * 20_000 + b"[]]\n",
        "long": b"[" + b"[]," * 330_000 + b"[]]\n", "long rows": b"[" + b"1," * 500_000 + b"1]\n",
        "escaped quotes": b'"' + b'\\"' * 20_000 + b"\n", "not UTF-8": b'"\xff"\n', "endless": b"a" * 4096,
        "strings": b'"a"\n',
    }  # fmt: skip
    for name, unit in units.items():
        for model in (HALF_PLUS, REVIEWS, STRINGS):
            body = filled(b"", unit, b"", 4 * MB)
            yield Case(f"lines, {name}, to {model}", predict(model), LINES, body)
    yield Case("lines, labels", predict(REVIEWS, "?labels=true"), LINES, filled(b"", b'"a good film"\n', b"", MB))


def header_cases() -> Iterator[Case]:
    body = b'{"instances":[[1.0]]}'
    long = 60_000
    lines = {
        "many": tuple(f"X-{n}: y" for n in range(90)),
        "long": ("X-A: " + "y" * long,),
        "Accept of many kinds": ("Accept: " + "a/b;q=0.1," * (long // 10),),
        "Content-Type of parameters": (),
        "request id": ("X-Request-Id: " + "a" * long,),
        "request id like keys": ("X-Request-Id: " + "myd_" * (long // 4),),
        "Authorization": ("Authorization: Bearer " + "myd_" * (long // 4),),
        "timeout": ("X-Timeout-Ms: " + "9" * long,),
        "Content-Encoding": ("Content-Encoding: " + "gzip," * (long // 5),),
        "cookies": ("Cookie: " + "a=b;" * (long // 4),),
        "forwarded": ("X-Forwarded-For: " + "1.2.3.4," * (long // 8),),
        "rollout key": ("X-Rollout-Key: " + "k" * long,),
        "origin": ("Origin: " + "h" * long,),
        "Expect": ("Expect: 100-continue",),
    }
    for name, headers in lines.items():
        kind = "application/json" + "; a=b" * (long // 5) if "Content-Type" in name else JSON
        yield Case(f"headers, {name}", predict(HALF_PLUS), kind, lambda: body, headers)
        yield Case(f"headers, {name}, CSV", predict(HALF_PLUS), CSV + kind[len(JSON) :], lambda: b"1\n", headers)
    queries = {"query": "a&", "query of escapes": "%41=%41&", "signatures": "signature_name=a&", "semicolons": "a;"}
    for name, unit in queries.items():
        query = "?" + unit * (long // len(unit))
        yield Case(f"headers, {name}", predict(HALF_PLUS, query), JSON, lambda: body)
        yield Case(f"headers, {name}, lines", predict(HALF_PLUS, query), LINES, lambda: b"[1]\n")
        yield Case(f"headers, {name}, jobs", "/api/jobs" + query, JSON, bytes, method="GET")
    for path in (
        "/" * long,
        "/v1/models/" + "a" * long,
        "/v1/models/a" + "/versions/1" * (long // 11),
        "/%2e" * (long // 4),
    ):
        yield Case(f"headers, path {path[:16]}…", path, JSON, lambda: body)


def control_cases() -> Iterator[Case]:
    for path in ("/api/jobs", "/api/searches", "/api/feedback", f"/api/models/{HALF_PLUS}:promote"):
        yield Case(f"control, brackets, {path}", path, JSON, filled(b"", b"[", b"", 60_000), copies=16)
        yield Case(
            f"control, keys, {path}", path, JSON,
            lambda: b'{"overrides":{' + b",".join(b'"%x":1' % n for n in range(6000)) + b"}}", copies=16,
        )  # fmt: skip
        yield Case(f"control, too large, {path}", path, JSON, filled(b'{"a":"', b"a", b'"}', 16 * MB - 10))
    yield Case("control, OpenAPI document", "/openapi.json", JSON, bytes, method="GET", copies=16)
    yield Case("control, metrics", "/metrics", JSON, bytes, method="GET", copies=64)


def many_cases() -> Iterator[Case]:
    body = b'{"instances":[[1.0]]}'
    wide = b'{"instances":[' + b",".join([b"[1.0]"] * 256) + b"]}"
    yield Case("many, pipelined", predict(HALF_PLUS), JSON, lambda: body, pipelined=2000)
    yield Case("many, pipelined and unknown", "/no/such/route", JSON, lambda: body, pipelined=2000)
    yield Case("many, at once", predict(HALF_PLUS), JSON, lambda: wide, copies=200)
    yield Case("many, wrong at once", predict(HALF_PLUS), JSON, lambda: body[:-1], copies=200)
    yield Case(
        "many, large at once", predict(HALF_PLUS), JSON, filled(b'{"instances":[[]', b",[]", b"]}", MB - 10), copies=8
    )
    yield Case("many, chunks of one byte", predict(REVIEWS), "text/plain", lambda: b"a" * 500_000, chunk_bytes=1)
    yield Case("many, chunks of one byte, lines", predict(HALF_PLUS), LINES, lambda: b"[1]\n" * 50_000, chunk_bytes=1)


def all_cases() -> Iterator[Case]:
    """Every case."""
    yield from json_cases(MB - 20, "of 1 MB")
    yield from json_cases(250_000, "of 250 KB")
    yield from json_cases(16 * MB - 20, "of 16 MB")
    yield from csv_cases(MB - 20)
    yield from multipart_cases()
    yield from image_cases()
    yield from text_cases()
    yield from binary_cases()
    yield from compressed_cases()
    yield from line_cases()
    yield from header_cases()
    yield from control_cases()
    yield from many_cases()
