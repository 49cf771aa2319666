"""`python -m streamgate.speech.bring` writes what the page says."""

from pathlib import Path

import pytest

from streamgate.speech.bring import main
from tests.speech import exports
from tests.speech.brought_models import (
    NO_ENDPOINTS,
    TOKENS,
    configurations,
    write_fastconformer,
    write_first_zipformer,
    write_zipformer,
)


def repository_of(folder: Path) -> dict[str, str]:
    """The configurations in a repository."""
    return {path.parent.name: path.read_text("utf-8") for path in folder.glob("*/config.pbtxt")}


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.glob("*/1/*")
        if path.is_file()
    }


def bring(target: Path, source: Path, name: str, *more: str) -> int:
    """Bring the files that a repository of the tests has."""
    text = source / f"{name}_text" / "1"
    arguments = [str(target), name, "--encoder", str(source / f"{name}_encoder/1/model.onnx")]
    arguments += ["--tokens", str(text / "tokens.txt"), *more]
    for option in ("decoder", "joiner", "decoder_joint"):
        if (text / f"{option}.onnx").exists():
            arguments += [f"--{option.replace('_', '-')}", str(text / f"{option}.onnx")]
    return main(arguments)


def test_a_zipformer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_zipformer(tmp_path / "given", {})
    target = tmp_path / "brought"
    assert bring(target, tmp_path / "given", "zipformer") == 0
    assert repository_of(target) == repository_of(tmp_path / "given")
    pages = configurations()
    assert repository_of(target) == {name: pages[name] for name in repository_of(target)}
    assert files_of(target) == files_of(tmp_path / "given")
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert bring(target, tmp_path / "given", "zipformer") == 1
    assert "zipformer exists already" in capsys.readouterr().err


def test_a_first_zipformer(tmp_path: Path) -> None:
    write_first_zipformer(tmp_path / "given", {})
    assert bring(tmp_path / "brought", tmp_path / "given", "zipformer") == 0
    assert repository_of(tmp_path / "brought") == repository_of(tmp_path / "given")


@pytest.mark.parametrize("kind", ["joint", "split", "ctc"])
def test_a_fastconformer(tmp_path: Path, kind: str) -> None:
    write_fastconformer(tmp_path / "given", {}, kind)
    cache = f"{exports.NEMO_LAYERS},{exports.NEMO_LEFT},{exports.NEMO_DIM}"
    more = ("--channel-cache", cache, "--chunk-frames", str(exports.NEMO_CHUNK))
    assert bring(tmp_path / "brought", tmp_path / "given", "fastconformer", *more) == 0
    assert repository_of(tmp_path / "brought") == repository_of(tmp_path / "given")
    assert files_of(tmp_path / "brought") == files_of(tmp_path / "given")


def test_a_fastconformer_that_says_all_its_sizes(tmp_path: Path) -> None:
    write_fastconformer(tmp_path / "given", {}, "joint")
    encoder = tmp_path / "given" / "fastconformer_encoder" / "1" / "model.onnx"
    exports.save_nemo_encoder(encoder, described=True)
    assert bring(tmp_path / "brought", tmp_path / "given", "fastconformer") == 0
    assert repository_of(tmp_path / "brought") == repository_of(tmp_path / "given")


def test_sizes_that_nothing_tells_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fastconformer(tmp_path / "given", NO_ENDPOINTS, "joint")
    arguments = (tmp_path / "brought", tmp_path / "given", "fastconformer")
    assert bring(*arguments) == 1
    assert "has no chunk_shift in its metadata: give --chunk-frames" in capsys.readouterr().err
    assert bring(*arguments, "--chunk-frames", "56") == 1
    said = capsys.readouterr().err
    assert "does not say all sizes of cache_last_channel, only 3, cache_frames, 16" in said
    assert "give --channel-cache" in said


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--decoder", "FOLDER/decoder.onnx"], "expected --decoder and --joiner, or"),
        (["--decoder-joint", "FOLDER/none.onnx"], "none.onnx is no file"),
        ([], "decoder.onnx: expected an encoder with the inputs"),
    ],
)
def test_files_that_do_not_go_together(
    tmp_path: Path, more: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exports.save_zipformer_decoder(tmp_path / "decoder.onnx", TOKENS)
    exports.save_tokens(tmp_path / "tokens.txt", ["<blk>", "a"])
    arguments = [str(tmp_path / "out"), "m", "--encoder", str(tmp_path / "decoder.onnx")]
    arguments += ["--tokens", str(tmp_path / "tokens.txt")]
    arguments += [each.replace("FOLDER", str(tmp_path)) for each in more]
    assert main(arguments) == 1
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
