"""Backbones of every source against their library's own forward, on what its own transforms make."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from avr.core import UsageError, WorkError
from avr.extract import build_backbone, open_backbone

LAYERS = ["pooled", "map", "tokens"]


def read(backbone, model, inputs, layers=LAYERS):
    with torch.inference_mode():
        return backbone.reader(model, layers).eval()(inputs)


def frames(num, *, height=40, width=60, seed=0):
    """(num, 3, height, width) uint8 of smooth colours."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(num, 3, 6, 8, generator=generator)
    return (torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1) * 255).byte()


def prepared(images, own, *, exact=False):
    """Frames (…, 3, H, W) as a backbone's `Preprocessing` says; `exact`: in float32, then rounded, as torchvision's
    first transforms do it, not in whole numbers."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as first
    from torchvision.transforms.v2 import functional as second

    functional = first if exact else second
    mode = InterpolationMode(own.interpolation)
    resized = functional.resize(images, list(own.resize), interpolation=mode, antialias=own.antialias)
    cropped = functional.center_crop(resized, [own.crop, own.crop]).float() / 255
    return functional.normalize(cropped, list(own.mean), list(own.std))


def same(found, expected, *, atol=1e-5):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


# Video networks: clip length in the test, the module whose output is the map, the one whose input is `pooled`.
CLIPS = {
    "r3d_18": (4, 16, 15.0, "layer4", "fc"),
    "mc3_18": (2, 16, 15.0, "layer4", "fc"),
    "r2plus1d_18": (4, 16, 15.0, "layer4", "fc"),
    "s3d": (16, 128, 15.0, "features", "classifier"),
    "mvit_v1_b": (16, 16, 7.5, "norm", "head"),
    "mvit_v2_s": (16, 16, 7.5, "norm", "head"),
    "swin3d_t": (4, 32, 15.0, "norm", "head"),
    "swin3d_s": (2, 32, 15.0, "norm", "head"),
    "swin3d_b": (2, 32, 15.0, "norm", "head"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_video_networks_of_torchvision(name):
    from torchvision import models

    length, clip, rate, last, head = CLIPS[name]
    backbone = open_backbone(name)
    assert (backbone.frames, backbone.frame_rate) == (clip, rate)
    own, transforms = backbone.preprocessing("DEFAULT"), models.get_model_weights(name).DEFAULT.transforms()
    video = frames(length)
    inputs = transforms(video)  # (3, T, H, W)
    same(prepared(video, own, exact=True).transpose(0, 1), inputs)
    if name in ("mvit_v1_b", "swin3d_s", "swin3d_b"):  # larger ones of a kind
        return
    model = build_backbone(backbone, weights="random")
    if name.startswith("swin3d"):
        inputs = inputs[..., ::4, ::4]  # its windows move over clips of any size
    seen = {}
    hooks = [model.get_submodule(last).register_forward_hook(lambda _, taken, given: seen.update(map=given))]
    hooks += [model.get_submodule(head).register_forward_hook(lambda _, taken, given: seen.update(pooled=taken[0]))]
    with torch.inference_mode():
        model(inputs[None])
    for hook in hooks:
        hook.remove()
    found = read(backbone, model, inputs[None])
    pooled, grid = seen["pooled"], seen["map"]
    if name == "s3d":  # class scores are averaged, which is the scores of the average
        pooled = pooled.mean((2, 3, 4))
    if name.startswith("mvit"):
        tokens = grid[:, 1:]
        grid = tokens.reshape(1, 8, 7, 7, -1).permute(0, 4, 1, 2, 3)
    if name.startswith("swin3d"):
        grid = grid.permute(0, 4, 1, 2, 3)
    same(found["pooled"], pooled)
    same(found["map"], grid.mean(2))
    same(found["tokens"], grid.flatten(2).transpose(1, 2))


def test_a_node_of_a_video_network_is_its_mean_over_time():
    model = build_backbone("r3d_18", weights="random")
    inputs = torch.randn(1, 3, 2, 32, 32)
    found = read(open_backbone("r3d_18"), model, inputs, ["layer2", "map"])
    with torch.inference_mode():
        expected = model.layer2(model.layer1(model.stem(inputs))).mean(2)
    same(found["layer2"], expected)
    with pytest.raises(UsageError, match="r3d_18 has no convolution to widen for flow"):
        build_backbone("r3d_18", weights="random", in_channels=20)


def test_tokens_of_torchvision_s_vit():
    model = build_backbone("vit_b_32", weights="random")
    inputs = torch.randn(1, 3, 224, 224)
    found = read(open_backbone("vit_b_32"), model, inputs)
    with torch.inference_mode():
        tokens = model.encoder(torch.cat([model.class_token, model._process_input(inputs)], 1))
    same(found["pooled"], tokens[:, 0])
    same(found["tokens"], tokens[:, 1:])
    same(found["map"][0, :, 2, 5], tokens[0, 1 + 2 * 7 + 5])


def test_sizes_of_named_weights_are_theirs():
    """Some of a network's weights see larger images than others: it has positions for them."""
    backbone = open_backbone("vit_b_16")
    model = backbone.build("IMAGENET1K_SWAG_E2E_V1", in_channels=3, num_classes=0)
    assert model.image_size == backbone.preprocessing("IMAGENET1K_SWAG_E2E_V1").crop == 384
    assert "SWAG" in backbone.licence("IMAGENET1K_SWAG_E2E_V1")
    assert not backbone.licence("IMAGENET1K_V1")


def test_names_of_sources(monkeypatch):
    assert open_backbone("torchvision:resnet18").name == "resnet18"
    with pytest.raises(
        UsageError, match=r"unknown source of backbones 'keras'; known: timm, torchvision, transformers"
    ):
        open_backbone("keras:resnet")
    with pytest.raises(UsageError, match="name a network behind timm:"):
        open_backbone("timm:")
    for source in ("timm", "transformers"):
        monkeypatch.setitem(__import__("sys").modules, source, None)
        with pytest.raises(
            UsageError, match=rf"--backbone {source}:x/y needs {source}: pip install 'avr-video\[{source}\]'"
        ):
            open_backbone(f"{source}:x/y")


def test_a_source_of_one_s_own_as_the_documentation_has_it(tmp_path, monkeypatch):
    from avr.extract import backbones

    text = (Path(__file__).parents[2] / "docs" / "extract.md").read_text()
    code = text.split("### A source of your own")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "toy.py").write_text(code)
    monkeypatch.setattr(backbones.__spec__, "submodule_search_locations", [*backbones.__path__, str(tmp_path)])
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(tmp_path)])
    model = build_backbone("toy:8", weights="random", in_channels=4)
    found = read(open_backbone("toy:8"), model, torch.randn(2, 4, 64, 64))
    assert {name: value.shape[1:] for name, value in found.items()} == {
        "pooled": (16,),
        "map": (16, 8, 8),
        "tokens": (64, 16),
    }
    torch.save({"net": {f"a.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "own.pth")
    assert torch.equal(
        build_backbone("toy:8", weights=str(tmp_path / "own.pth"), in_channels=4)[0].weight, model[0].weight
    )
    with pytest.raises(UsageError, match="toy:8 has no weights 'DEFAULT'; known: random, or a file"):
        build_backbone("toy:8")


# timm: a CNN, ViTs with a class token and with registers, one that pools by attention, maps with channels last.
TIMM = {
    "resnet18": 0,
    "vit_tiny_patch16_224": 1,
    "test_vit3": 1,
    "vit_small_patch14_reg4_dinov2": 5,
    "test_vit2": 1,
    "test_convnext": 0,
    "swin_tiny_patch4_window7_224": 0,
    "vit_base_patch16_siglip_224": 0,
    "vit_base_patch32_clip_224": 1,
    "efficientnet_b0": 0,
}


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name):
    timm = pytest.importorskip("timm")
    backbone = open_backbone(f"timm:{name}")
    own = backbone.preprocessing("random")
    model = build_backbone(backbone, weights="random")
    config = timm.data.resolve_model_data_config(model)
    picture = frames(1, height=120, width=150)[0]
    resize, crop, _, normalise = timm.data.create_transform(**config).transforms  # on a tensor: PIL rounds otherwise
    inputs = normalise(crop(resize(picture)).float() / 255)[None]
    same(prepared(picture, own, exact=True)[None], inputs)
    if own.crop > 300:  # dinov2's own size takes long
        inputs = inputs[..., :112, :112]
    with torch.inference_mode():
        features = model.forward_features(inputs)
        pooled = model.forward_head(features, pre_logits=True)
    found = read(backbone, model, inputs)
    same(found["pooled"], pooled)
    if features.ndim == 3:
        assert TIMM[name] == model.num_prefix_tokens
        tokens = features[:, TIMM[name] :]
    elif name.startswith("swin"):
        tokens = features.flatten(1, 2)
    else:
        tokens = features.flatten(2).transpose(1, 2)
    same(found["tokens"], tokens)
    side = int(tokens.shape[1] ** 0.5)
    same(found["map"], tokens.reshape(1, side, side, -1).permute(0, 3, 1, 2))
    assert not set(dict(model.named_parameters())) & {"fc.weight", "head.weight", "head.fc.weight", "classifier.weight"}


def test_files_names_and_flow_of_timm(tmp_path):
    timm = pytest.importorskip("timm")
    made = timm.create_model("test_resnet", num_classes=7)
    save_file({f"net.{key}": value for key, value in made.state_dict().items()}, tmp_path / "own.safetensors")
    model = build_backbone("timm:test_resnet", weights=str(tmp_path / "own.safetensors"), num_classes=3)
    assert torch.equal(model.conv1[0].weight, made.conv1[0].weight)
    assert model.fc.out_features == 3
    flow = build_backbone("timm:test_resnet", weights=str(tmp_path / "own.safetensors"), in_channels=6)
    assert torch.equal(flow.conv1[0].weight[:, 4], made.conv1[0].weight.mean(1))
    squash = open_backbone("timm:vit_base_patch16_clip_384.laion2b_ft_in12k_in1k")
    assert squash.preprocessing("DEFAULT").resize == (384, 384)
    assert open_backbone("timm:vit_small_patch14_dinov2.lvd142m").licence("DEFAULT") == "apache-2.0"
    with pytest.raises(UsageError, match=r"unknown network of timm 'resnet19' \(did you mean .*\?\); known: what timm"):
        open_backbone("timm:resnet19")
    with pytest.raises(UsageError, match=r"unknown weights of timm:resnet18 'a9_in1k' .did you mean a"):
        open_backbone("timm:resnet18.a9_in1k")
    with pytest.raises(UsageError, match=r"timm:test_resnet has no layer 'layer3'; it has pooled, map, tokens"):
        open_backbone("timm:test_resnet").reader(made, ["layer3"])


def test_a_checkpoint_in_another_layout_is_what_timm_makes_of_it(tmp_path, capsys):
    timm = pytest.importorskip("timm")
    made = timm.create_model("test_vit", img_size=64)  # its positions lie on a smaller grid
    torch.save({"model": made.state_dict()}, tmp_path / "own.pth")
    model = build_backbone("timm:test_vit", weights=str(tmp_path / "own.pth"))
    assert torch.equal(model.blocks[0].attn.qkv.weight, made.blocks[0].attn.qkv.weight)
    assert model.pos_embed.shape[1] > made.pos_embed.shape[1]
    assert capsys.readouterr().err == f"{tmp_path / 'own.pth'}: its layout changed as timm does\n"
    with pytest.raises(WorkError, match=r"own.pth: no weights of timm:test_vit2; nearest is 'model.', \d+ of \d+ tens"):
        build_backbone("timm:test_vit2", weights=str(tmp_path / "own.pth"))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """The hub as a machine without a network has it."""
    hub = pytest.importorskip("huggingface_hub")

    class Session:
        def head(self, *_, **__):
            raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "get_session", lambda: Session())
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_without_a_network(no_network):
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    what = (
        r"weights timm:resnet18 cannot be downloaded \(Name or service not known\); .*--weights FILE.*--weights random"
    )
    with pytest.raises(WorkError, match=what):
        build_backbone("timm:resnet18")
    what = (
        r"transformers:avr-test/none cannot be downloaded \(Name or.*\); give a folder .*--backbone transformers:FOLDER"
    )
    with pytest.raises(WorkError, match=what):
        build_backbone("transformers:avr-test/none", weights="random")


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CROP = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
SQUASH = {"size": {"height": 32, "width": 32}}


def tiny(kind):
    """A tiny network of transformers with a head, and its processor, and the one that we read."""
    tf = pytest.importorskip("transformers")
    mlp, patch16 = {**SMALL, "intermediate_size": 24}, {"image_size": 32, "patch_size": 16}
    if kind == "vit":
        model = tf.ViTForImageClassification(tf.ViTConfig(**mlp, image_size=32, patch_size=8))
        return model, tf.ViTImageProcessor(**SQUASH), model.vit
    if kind == "dinov2":
        config = tf.Dinov2WithRegistersConfig(**SMALL, image_size=32, patch_size=16, num_register_tokens=4)
        model = tf.Dinov2WithRegistersModel(config)
        return model, tf.BitImageProcessor(**CROP), model
    if kind in ("clip", "siglip"):
        config = {"clip": tf.CLIPConfig, "siglip": tf.SiglipConfig}[kind](vision_config={**mlp, **patch16})
        config.text_config.update({**mlp, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1})
        model = {"clip": tf.CLIPModel, "siglip": tf.SiglipModel}[kind](config)
        processor = tf.CLIPImageProcessor(**CROP) if kind == "clip" else tf.SiglipImageProcessor(**SQUASH)
        return model, processor, model.vision_model
    if kind == "videomae":
        decoder = {f"decoder_{name}": value for name, value in mlp.items()}
        model = tf.VideoMAEForPreTraining(tf.VideoMAEConfig(**mlp, **patch16, **decoder, num_frames=4))
        return model, tf.VideoMAEVideoProcessor(**CROP), model.videomae
    if kind == "timesformer":
        model = tf.TimesformerForVideoClassification(tf.TimesformerConfig(**mlp, **patch16, num_frames=3))
        return model, tf.VideoMAEVideoProcessor(**CROP), model.timesformer
    if kind == "vjepa2":
        predictor = {f"pred_{name}": 24 if name == "hidden_size" else value for name, value in SMALL.items()}
        sizes = {**SMALL, "hidden_size": 24, **predictor, "crop_size": 32, "patch_size": 16, "frames_per_clip": 4}
        model = tf.VJEPA2Model(tf.VJEPA2Config(**sizes))
        return model, tf.VJEPA2VideoProcessor(crop_size=32), model
    model = tf.VivitForVideoClassification(tf.VivitConfig(**mlp, image_size=32, tubelet_size=[2, 16, 16], num_frames=4))
    return model, tf.VivitVideoProcessor(**CROP), model.vivit


# Kind: T, tokens before the patches, time of the map, side of the map.
TRANSFORMERS = {
    "vit": (0, 1, 0, 4),
    "dinov2": (0, 5, 0, 2),
    "clip": (0, 1, 0, 2),
    "siglip": (0, 0, 0, 2),
    "videomae": (4, 0, 2, 2),
    "timesformer": (3, 1, 3, 2),
    "vjepa2": (4, 0, 2, 2),
    "vivit": (4, 1, 2, 2),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_networks_of_transformers_from_a_local_folder(tmp_path, kind, capfd):
    length, before, times, side = TRANSFORMERS[kind]
    whole, processor, tower = tiny(kind)
    tower.eval()
    folder = tmp_path / kind
    whole.save_pretrained(folder)
    processor.save_pretrained(folder)
    capfd.readouterr()
    backbone = open_backbone(f"transformers:{folder}")
    assert (backbone.name, backbone.folder, backbone.frames) == (f"transformers:{kind}", folder, length)
    assert open_backbone(backbone.name, folder).folder == folder
    model = build_backbone(backbone)
    video = frames(max(length, 1))
    if length:
        inputs = processor([video], return_tensors="pt", do_sample_frames=False)[tower.main_input_name]
    else:
        inputs = processor(video[0], return_tensors="pt")["pixel_values"]
    own = prepared(video, backbone.preprocessing("DEFAULT"))
    same(own if length else own[:1], inputs[0] if length else inputs)
    options = {"skip_predictor": True} if kind == "vjepa2" else {}
    with torch.inference_mode():
        expected = tower(inputs, **options)
    found = read(backbone, model, inputs.transpose(1, 2) if length else inputs)
    hidden = expected.last_hidden_state
    tokens = hidden[:, before:]
    if kind == "timesformer":
        tokens = tokens.reshape(1, side * side, times, -1).transpose(1, 2).flatten(1, 2)
    same(found["tokens"], tokens)
    grid = tokens.reshape(1, max(times, 1), side, side, -1).permute(0, 4, 1, 2, 3)
    same(found["map"], grid.mean(2))
    if kind in ("clip", "siglip"):
        same(found["pooled"], expected.pooler_output)
    else:
        same(found["pooled"], hidden[:, 0] if before else tokens.mean(1))
    told = capfd.readouterr()
    assert "LOAD REPORT" not in told.out + told.err
    assert len(backbone.load("DEFAULT")[1]) == 64


def test_files_flow_and_folders_of_transformers(tmp_path):
    whole, _, _ = tiny("vit")
    whole.save_pretrained(tmp_path / "vit")
    name = f"transformers:{tmp_path / 'vit'}"
    model = build_backbone(name)
    again = build_backbone(name, weights=str(tmp_path / "vit" / "model.safetensors"))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    other = build_backbone(name, weights="random", seed=5)
    assert not torch.equal(other.layers[0].mlp.fc1.weight, model.layers[0].mlp.fc1.weight)
    backbone = open_backbone(name)
    found = read(backbone, build_backbone(name, in_channels=4), torch.randn(2, 4, 32, 32), ["pooled"])
    assert found["pooled"].shape == (2, 16)
    with pytest.raises(UsageError, match=r"vit: no network of transformers .*processor"):
        backbone.preprocessing("DEFAULT")
    with pytest.raises(UsageError, match="transformers:vit has no classifier to train"):
        build_backbone(name, weights="random", num_classes=5)
    with pytest.raises(UsageError, match=r"transformers:\./gone: no such folder"):
        open_backbone("transformers:./gone")
    (tmp_path / "vit" / "model.safetensors").unlink()
    with pytest.raises(WorkError, match=r"vit: holds no model\*.safetensors or .*; give a file with --weights FILE"):
        build_backbone(name)
    (tmp_path / "vit" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"vit: no network of transformers \("):
        build_backbone(name, weights="random")


def test_what_the_hubs_cache_lacks_is_downloaded(tmp_path, monkeypatch):
    """A cache that holds the configuration alone, as it does once that was asked for."""
    hub = pytest.importorskip("huggingface_hub")
    whole, processor, _ = tiny("vit")
    remote, cache, asked = tmp_path / "remote", tmp_path / "cache", []
    whole.save_pretrained(remote)
    processor.save_pretrained(remote)
    cache.mkdir()

    def snapshot(repository, *, allow_patterns, local_files_only):
        if not local_files_only:
            asked.append(allow_patterns[1])
            for pattern in allow_patterns:
                for file in remote.glob(pattern):
                    shutil.copy(file, cache)
        return str(cache)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=lambda *_, **__: None))
    backbone = open_backbone("transformers:someone/vit")
    assert (backbone.preprocessing("DEFAULT").crop, backbone.frames, backbone.local) == (32, 0, False)
    tensors, sha256 = backbone.load("DEFAULT")
    assert asked == ["*processor_config.json", "model*.safetensors"]  # config.json came with the first
    assert len(sha256) == 64
    assert tensors
    backbone.load("DEFAULT")
    assert len(asked) == 2
