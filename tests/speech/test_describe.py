from pathlib import Path

import pytest

from streamgate.speech.describe import main
from tests.speech import exports


def test_a_zipformer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "encoder.onnx"
    exports.save_zipformer_encoder(path)
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "# encoder.onnx",
        "input  x: TYPE_FP32 [N, 45, 80]",
        "output encoder_out: TYPE_FP32 [N, 8, 24]",
    ]
    assert len([line for line in lines if line.startswith("state ")]) == 98
    assert "state  cached_key_0: TYPE_FP32 [128, N, 16] -> new_cached_key_0" in lines
    assert "state  processed_lens: TYPE_INT64 [N] -> new_processed_lens" in lines
    assert "metadata decode_chunk_len: 32" in lines


def test_a_fastconformer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "encoder.onnx"
    exports.save_nemo_encoder(path)
    assert main([str(path)]) == 0
    states = [line for line in capsys.readouterr().out.splitlines() if line.startswith("state ")]
    assert states == [
        "state  cache_last_channel: TYPE_FP32 [B, 3, cache_frames, 16] -> cache_last_channel_next",
        "state  cache_last_time: TYPE_FP32 [B, 3, 16, 4] -> cache_last_time_next",
        "state  cache_last_channel_len: TYPE_INT64 [B] -> cache_last_channel_next_len",
    ]


def test_what_is_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("<blk> 0\n")
    assert main([str(path)]) == 1
    assert str(path) in capsys.readouterr().err
    assert main([]) == 2
