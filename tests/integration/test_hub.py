"""Downloading models from a real HTTP server that speaks the hub's protocol."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seesame.errors import ModelError, ModelInvalid, ModelNotFound, ModelUnavailable
from seesame.models import ClipModel, hub
from tests.hub_server import LARGE, OWNER_NAME, TRANSFORMERS_JS, Hub, serve_hub

IMMICH = {
    "README.md": b"# Tiny",
    "config.json": b"{}",
    "visual/model.onnx": b"visual" * 100,
    "visual/model.armnn": b"arm" * 100,
    "visual/fp16/model.armnn": b"arm" * 100,
    "visual/onnx__MatMul_17": b"weights" * 100,
    "visual/preprocess_cfg.json": b"{}",
    "textual/model.onnx": b"textual" * 100,
    "textual/tokenizer.json": b"{}",
    "textual/tokenizer_config.json": b"{}",
    "textual/vocab.json": b"{}",
    "textual/merges.txt": b"",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub that HF_ENDPOINT points to."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve_hub(Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FP32 = {name: TRANSFORMERS_JS[name] for name in (
    "config.json", "preprocessor_config.json", "tokenizer.json", "onnx/vision_model.onnx",
    "onnx/vision_model.onnx_data", "onnx/text_model.onnx",
)}  # fmt: skip


def test_a_download_brings_the_needed_files_and_no_others(server: Hub, tmp_path: Path) -> None:
    """Only the files of the asked precision arrive, whole, and are found again."""
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path) is None
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert _contents(folder) == FP32
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path) == folder
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path, precision="fp16") is None


def test_another_precision_is_another_download(server: Hub, tmp_path: Path) -> None:
    """fp16 brings its own models and shares the configuration."""
    hub.pull(OWNER_NAME, cache_dir=tmp_path)
    server.got.clear()
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path, precision="fp16")
    assert sorted(server.got) == ["onnx/text_model_fp16.onnx", "onnx/vision_model_fp16.onnx"]
    assert (folder / "onnx" / "vision_model_fp16.onnx").read_bytes() == TRANSFORMERS_JS["onnx/vision_model_fp16.onnx"]


def test_a_missing_precision_says_which_there_are(server: Hub, tmp_path: Path) -> None:
    """The message names the precisions that the repository has."""
    with pytest.raises(ModelInvalid, match="no int8 files; it has fp32, fp16"):
        hub.pull(OWNER_NAME, cache_dir=tmp_path, precision="int8")


def test_the_immich_layout_comes_with_its_unnamed_weights(server: Hub, tmp_path: Path) -> None:
    """Weight files of any name beside the graph are needed; those of other run-times are not."""
    server.files = dict(IMMICH)
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert sorted(_contents(folder)) == [
        "config.json", "textual/model.onnx", "textual/tokenizer.json", "textual/tokenizer_config.json",
        "visual/model.onnx", "visual/onnx__MatMul_17", "visual/preprocess_cfg.json",
    ]  # fmt: skip


def test_a_pulled_model_with_weights_beside_the_graph_runs(server: Hub, tmp_path: Path) -> None:
    """The cache's way of storing files does not come between a graph and its weights."""
    matrix = np.random.default_rng(0).standard_normal((3 * 8 * 8, 6)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["pixel_values"], ["rows"]),
         helper.make_node("MatMul", ["rows", "matrix"], ["image_embeds"])],
        "tiny",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(matrix, "matrix")],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    made = tmp_path / "made"
    made.mkdir()
    onnx.save(model, made / "vision_model.onnx", save_as_external_data=True, location="vision_model.onnx_data")
    server.files = {f"onnx/{path.name}": path.read_bytes() for path in made.iterdir()}
    server.files["preprocessor_config.json"] = b'{"size": 8, "crop_size": 8}'
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path / "cache")
    assert ClipModel.load(folder, name=OWNER_NAME).images(np.ones((2, 3, 8, 8), np.float32)).shape == (2, 6)


def test_a_repository_without_a_known_layout_is_refused(server: Hub, tmp_path: Path) -> None:
    """A repository of another framework is named invalid before anything large is fetched."""
    server.files = {"config.json": b"{}", "model.safetensors": b"torch"}
    with pytest.raises(ModelInvalid, match=r"onnx/vision_model\.onnx"):
        hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert server.got == []


def test_progress_rises_to_the_whole_size(server: Hub, tmp_path: Path) -> None:
    """The callback sees the same total always, never falls within a smooth download and ends complete."""
    seen: list[tuple[int, int]] = []
    hub.pull(OWNER_NAME, cache_dir=tmp_path, progress=lambda done, total: seen.append((done, total)))
    total = sum(map(len, FP32.values()))
    assert {total for _, total in seen} == {total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == total


def test_a_cut_connection_is_taken_up_where_it_broke(server: Hub, tmp_path: Path) -> None:
    """After a break the rest is asked for by range, and the file is whole."""
    # The hub's library keeps what it has in pieces of 10 MB.
    model = bytes(range(250)) * 100_000
    server.files = {"onnx/vision_model.onnx": model, "config.json": b"{}"}
    server.cut_once_after = 15_000_000
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert (folder / "onnx" / "vision_model.onnx").read_bytes() == model
    assert [int(wanted.removeprefix("bytes=").partition("-")[0]) for wanted in server.ranges] == [10 * 1024 * 1024]


def test_the_cache_alone_serves_the_second_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the server gone, what was downloaded before is used without a question."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with serve_hub(Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert hub.pull(OWNER_NAME, cache_dir=tmp_path) == folder
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path) == folder


def test_offline_uses_the_cache_and_asks_nothing(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HF_HUB_OFFLINE=1 gives the cached model, and for another precision a message that says what to do."""
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    asked = len(server.tokens)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.pull(OWNER_NAME, cache_dir=tmp_path) == folder
    with pytest.raises(ModelUnavailable, match="Unset HF_HUB_OFFLINE"):
        hub.pull(OWNER_NAME, cache_dir=tmp_path, precision="fp16")
    assert len(server.tokens) == asked


def test_a_damaged_file_is_found_by_its_digest_and_fetched_again(server: Hub, tmp_path: Path) -> None:
    """A byte changed on disk, at the same size, costs one more download of that file alone."""
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    for name in ("onnx/text_model.onnx", "config.json"):
        damaged = (folder / name).resolve()
        damaged.write_bytes(b"!" + damaged.read_bytes()[1:])
    server.got.clear()
    assert hub.pull(OWNER_NAME, cache_dir=tmp_path) == folder
    assert sorted(server.got) == ["config.json", "onnx/text_model.onnx"]
    assert _contents(folder) == FP32


def test_a_truncated_file_is_not_complete(server: Hub, tmp_path: Path) -> None:
    """Nothing is located while a file is too short."""
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    (folder / "onnx" / "vision_model.onnx").resolve().write_bytes(b"short")
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path) is None


def test_a_file_that_arrives_damaged_is_fetched_once_more(server: Hub, tmp_path: Path) -> None:
    """Bytes that do not match the hub's own digest are not kept."""
    server.garble_once = {"onnx/vision_model.onnx"}
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert (folder / "onnx" / "vision_model.onnx").read_bytes() == LARGE


def test_a_file_that_always_arrives_damaged_is_not_used(server: Hub, tmp_path: Path) -> None:
    """A mirror that serves something else cannot pass it off as the model."""
    server.garble = {"onnx/text_model.onnx"}
    with pytest.raises(ModelUnavailable, match="arrived damaged"):
        hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path) is None


def test_an_unknown_repository_is_not_found(server: Hub, tmp_path: Path) -> None:
    """The hub's 404 becomes ModelNotFound."""
    with pytest.raises(ModelNotFound, match="no model shop/other"):
        hub.pull("shop/other", cache_dir=tmp_path)


def test_a_gated_repository_asks_for_a_token(server: Hub, tmp_path: Path) -> None:
    """Terms that must be accepted first are named as the reason."""
    server.gated = True
    with pytest.raises(ModelUnavailable, match="HF_TOKEN"):
        hub.pull(OWNER_NAME, cache_dir=tmp_path)


def test_the_token_is_sent(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HF_TOKEN is read at the call, and goes with every request."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert set(server.tokens) == {"Bearer hf_secret"}


@pytest.mark.parametrize("status", [500, 503])
def test_a_failing_hub_is_unavailable(server: Hub, tmp_path: Path, status: int) -> None:
    """A server error is said to be worth another try."""
    server.status = status
    with pytest.raises(ModelUnavailable, match="try again"):
        hub.pull(OWNER_NAME, cache_dir=tmp_path)


def test_no_server_at_all_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A refused connection says what to do, and names no address."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with serve_hub(Hub()) as stopped:
        monkeypatch.setenv("HF_ENDPOINT", stopped.endpoint)
    with pytest.raises(ModelUnavailable, match="try again") as caught:
        hub.pull(OWNER_NAME, cache_dir=tmp_path)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "nothing", "a/b/c", "../up", "owner/..", "owner/na me", "/no/such/folder", "https://host/model"]
)
def test_names_that_cannot_be_models_are_not_found(name: str, tmp_path: Path) -> None:
    """Neither a curated name, a repository nor a folder: refused without a request."""
    for look_up in (hub.locate, hub.pull):
        call: Callable[..., Path | None] = look_up
        with pytest.raises(ModelNotFound):
            call(name, cache_dir=tmp_path)


def test_a_folder_is_its_own_location(tmp_path: Path) -> None:
    """The path of a folder works as a name, without any cache."""
    assert hub.locate(str(tmp_path), cache_dir=tmp_path / "cache") == tmp_path
    assert hub.pull(str(tmp_path), cache_dir=tmp_path / "cache") == tmp_path
    assert not (tmp_path / "cache").exists()


def test_an_unreadable_receipt_counts_as_none(server: Hub, tmp_path: Path) -> None:
    """A receipt that lost its content leads to a new check of every file, not to a failure."""
    folder = hub.pull(OWNER_NAME, cache_dir=tmp_path)
    receipt = next(tmp_path.glob("models--*/receipt-*.json"))
    receipt.write_text("{", encoding="utf-8")
    assert hub.locate(OWNER_NAME, cache_dir=tmp_path) is None
    server.got.clear()
    assert hub.pull(OWNER_NAME, cache_dir=tmp_path) == folder
    assert server.got == []


def test_a_cache_that_cannot_be_written_is_unavailable(server: Hub, tmp_path: Path) -> None:
    """A cache folder that is a file cannot hold a model; the message is ours."""
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(ModelError):
        hub.pull(OWNER_NAME, cache_dir=tmp_path / "cache")


def test_the_curated_table_is_in_order() -> None:
    """Every row is filed under its own name, has a possible repository and a known layout; the default is one."""
    assert hub.DEFAULT in hub.CURATED
    for name, model in hub.CURATED.items():
        assert model.name == name
        assert model.repository.count("/") == 1
        assert model.layout in ("immich", "transformers.js")
        assert model.dimensions > 0
        assert model.size_mb > 0


def test_a_space_is_named_without_telling_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A curated name or a repository as it is; of a folder, also of one that is not there, the last part."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.space_name("vit-b-32-laion2b") == "vit-b-32-laion2b"
    assert hub.space_name("shop/clip") == "shop/clip"
    for path in (tmp_path / "models" / "mine", "models/mine", tmp_path / "gone" / "mine", "../x/mine"):
        assert hub.space_name(str(path)) == "mine"
