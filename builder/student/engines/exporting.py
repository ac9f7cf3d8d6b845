"""A student as the native engine reads it: adapters merged, linear layers in integers; exported once and kept.

torch and transformers are needed for the export only. The file is named by the student's digest and the format, so a
student that was trained again has another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builder.atomic import atomic_path, write_text
from builder.errors import StudentError
from builder.fetch import sha256_of
from builder.student.config import HEADS, WEIGHTS_FILE, StudentConfig, check_encoder, student_digest
from builder.student.encoder import encoder_folder
from builder.student.engines.compiling import engines_folder

if TYPE_CHECKING:
    from builder.student.network import StudentNetwork

#: Goes up when the file or the arithmetic changes.
EXPORT_VERSION = 2
#: The largest activation, as in native_vectors.h, and the largest weight, by bits.
ACTIVATION_LIMITS = {8: 180, 16: 2047}
WEIGHT_LIMITS = {8: 127, 16: 8191}
#: Largest sum of products: with 8 bits those of eight inputs in 16 bits, with 16 those of all inputs in 32.
SUM_LIMITS = {8: 2**15 - 1, 16: 2**31 - 1}
_PANEL = 16
#: Widths are multiples of it (two panels), also those of heads.
_WIDTHS = 2 * _PANEL
#: Attention's sums of 16-bit products stay within 32 bits.
_WIDEST_HEAD = 512
#: Key of the file's metadata.
SHAPE_KEY = "shape"

Arrays = dict[str, NDArray[Any]]
Weights = Mapping[str, NDArray[np.float32]]


class NotForNativeError(StudentError):
    """The native engine does not know the student's encoder."""


def exported(folder: Path, config: StudentConfig) -> Path:
    """Path of the exported student, made first if need be; safe with several processes at once.

    Raises:
        StudentError: the student cannot be loaded, or its encoder is no longer the one that it was trained on.
        SourceError: the encoder cannot be fetched.
        NotForNativeError: its encoder is not a BERT encoder as the native engine computes it.
        NoFolderError: see :func:`~builder.student.engines.compiling.engines_folder`.
    """
    base = encoder_folder(config.encoder)
    parts = (student_digest(folder), config.encoder_sha256, sha256_of(base / "config.json"), EXPORT_VERSION)
    key = hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
    file = engines_folder() / f"student-{key[:16]}.safetensors"
    _check_encoder(base, config, file.with_suffix(".encoder"))
    if not file.is_file():
        from safetensors.numpy import save_file

        from builder.student.network import load_student

        arrays, shape = export(load_student(folder, config))
        with atomic_path(file) as temporary:
            save_file(arrays, temporary, metadata={SHAPE_KEY: json.dumps(shape)})
    return file


def _check_encoder(base: Path, config: StudentConfig, checked: Path) -> None:
    """As :func:`~builder.student.config.check_encoder`, hashing only what has changed since ``checked`` was written: tokens
    come from this folder, also if the weights come from the export.
    """
    found = (base / WEIGHTS_FILE).stat()
    seen = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}\n"
    if checked.is_file() and checked.read_bytes() == seen.encode():
        return
    check_encoder(base, config)
    with suppress(OSError):  # a cache that cannot be written: it is hashed the next time too
        write_text(checked, seen)


def export(network: StudentNetwork) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of native.c by name, and the numbers of its ``Model``.

    Raises:
        NotForNativeError: the encoder is of another kind.
    """
    shape = _shape(network)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    arrays: Arrays = {}
    for short, name in (("words", "word"), ("positions", "position"), ("segments", "token_type")):
        arrays[short] = weights[f"encoder.embeddings.{name}_embeddings.weight"]
    arrays |= _norm("embedded", weights, "encoder.embeddings.LayerNorm")
    for number in range(shape["layers"]):
        # after GELU in the first layers, 8 bits cost three times as many changed labels as everywhere else together
        down_bits = 16 if number < shape["layers"] // 2 else 8
        name = f"encoder.encoder.layer.{number}"
        arrays |= _layer(str(number), weights, name, shape["width"] // shape["heads"], down_bits)
    for head in HEADS:
        arrays[f"heads.{head}.weight"] = weights[f"heads.{head}.weight"]
        arrays[f"heads.{head}.bias"] = weights[f"heads.{head}.bias"]
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, shape


def _shape(network: StudentNetwork) -> dict[str, Any]:
    settings: Any = network.encoder.config
    if settings.model_type != "bert" or settings.hidden_act != "gelu":
        raise NotForNativeError(f"the native engine knows BERT encoders with GELU, not {settings.model_type}")
    width, inner, heads = settings.hidden_size, settings.intermediate_size, settings.num_attention_heads
    if width % (_WIDTHS * heads) or inner % _WIDTHS or width // heads > _WIDEST_HEAD:
        raise NotForNativeError(
            f"the native engine needs widths in multiples of {_WIDTHS}, also of heads, and heads of at most {_WIDEST_HEAD}"
        )
    if getattr(settings, "position_embedding_type", "absolute") != "absolute":
        raise NotForNativeError("the native engine needs absolute positions")
    return {
        "layers": settings.num_hidden_layers,
        "width": width,
        "heads": heads,
        "inner": inner,
        "first_token_only": int(network.pooling == "cls"),
        "epsilon": settings.layer_norm_eps,
    }


def _layer(prefix: str, weights: Weights, name: str, head: int, down_bits: int) -> Arrays:
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    weight = np.concatenate([weights[f"{part}.weight"] for part in parts])
    bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
    factor = np.ones(len(bias))
    factor[: len(bias) // 3] = head**-0.5  # queries are divided here by what attention divides by
    return {
        **linear(f"{prefix}.qkv", weight, bias, factor),
        **_linear_of(f"{prefix}.attention_out", weights, f"{name}.attention.output.dense"),
        **_linear_of(f"{prefix}.up", weights, f"{name}.intermediate.dense"),
        **_linear_of(f"{prefix}.down", weights, f"{name}.output.dense", down_bits),
        **_norm(f"{prefix}.after_attention", weights, f"{name}.attention.output.LayerNorm"),
        **_norm(f"{prefix}.after_feed_forward", weights, f"{name}.output.LayerNorm"),
    }


def _linear_of(prefix: str, weights: Weights, name: str, bits: int = 8) -> Arrays:
    bias = weights[f"{name}.bias"]
    return linear(prefix, weights[f"{name}.weight"], bias, np.ones(len(bias)), bits)


def linear(prefix: str, weight: NDArray[Any], bias: NDArray[Any], factor: NDArray[Any], bits: int = 8) -> Arrays:
    """A layer of ``weight`` [out, in] and ``bias`` [out], its outputs times ``factor`` [out], in integers of ``bits``.

    Each output has a scale, the finest with which no sum of products can leave :data:`SUM_LIMITS`.
    """
    largest = np.maximum(np.abs(weight).max(1) / WEIGHT_LIMITS[bits], largest_sums(weight, bits) / SUM_LIMITS[bits])
    scale = np.maximum(largest.astype(np.float64), 1e-30)
    whole = np.rint(weight / scale[:, None])
    while (over := largest_sums(whole, bits) > SUM_LIMITS[bits]).any():  # by rounding
        scale[over] *= 1.002
        whole[over] = np.rint(weight[over] / scale[over, None])
    outputs, inputs = whole.shape
    unit = 32 // bits
    panels = whole.T.reshape(inputs // unit, unit, outputs // _PANEL, _PANEL).transpose(2, 0, 3, 1)
    return {
        f"{prefix}.weight": panels.astype(np.int8 if bits == 8 else np.int16),
        f"{prefix}.total": whole.sum(1).astype(np.float32),
        f"{prefix}.scale": (scale * factor).astype(np.float32),
        f"{prefix}.bias": (bias * factor).astype(np.float32),
    }


def largest_sums(whole: NDArray[Any], bits: int) -> NDArray[np.float64]:
    """The largest sum of products, by output, that some activations give ``whole`` [out, in].

    With 8 bits, activations are not negative, and a sum is of the first or last two of each four of 16 inputs.
    """
    if bits == 16:
        return np.asarray(np.abs(whole).sum(1) * ACTIVATION_LIMITS[16])
    groups = whole.reshape(len(whole), -1, 4, 2, 2)
    above, below = (np.maximum(sign * groups, 0).sum((2, 4)).max((1, 2)) for sign in (1, -1))
    return np.asarray(np.maximum(above, below) * ACTIVATION_LIMITS[8])


def _norm(prefix: str, weights: Weights, name: str) -> Arrays:
    return {f"{prefix}.weight": weights[f"{name}.weight"], f"{prefix}.bias": weights[f"{name}.bias"]}
