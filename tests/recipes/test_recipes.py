"""Every recipe is read, and everything it names exists, so that none can rot."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from avr.cli import main
from avr.core import UsageError, options_of
from avr.datasets import shapes
from avr.extract import read_streams
from avr.fusion import make_fuser
from avr.heads import head_class, head_options
from avr.recipes import StoreSpec, load_recipe, recipe_names
from avr.recipes.folder import store_slug
from avr.recipes.planning import Pace, plan_recipe, seconds_a_video, view_shapes
from avr.recipes.reading import STORE_SETTINGS, VIDEOS
from avr.training import read_training

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"
PACE = Pace({"tvl1": 0.1, "dis": 0.01}, 100.0)


def test_every_comparing_table_of_the_five_papers_is_there():
    expected = ["stfn-text", *(f"stfn-table{n}" for n in range(1, 7))] + [f"stilt-table{n}" for n in (4, 5, 6)]
    expected += ["glka-published-code", *(f"glka-table{n}" for n in range(1, 9))]
    expected += [f"{head}-table{n}" for n in (1, 2) for head in OU_AND_SUN] + ["temporal-pyramid-table3"]
    assert set(recipe_names()) == set(expected)


def test_every_recipe_stands_in_the_table_of_tables_with_what_it_lacks():
    told = dict(re.findall(r"^\| .+ \| `([\w-]+)` \| (.+) \|$", DOCS.read_text(), re.MULTILINE))
    assert sorted(told) == recipe_names()
    for name, state in told.items():
        recipe = load_recipe(name)
        assert ("no figures" in state) == (not any(row.figures for row in recipe.rows)), name
        assert all(f"--scores {one}" in state for row in recipe.rows for one in row.scores), name
        assert ("--start-from" in state) == any(row.start_from for row in recipe.rows), name
        assert ("by=video" in state) == ("random" in recipe.metric) == any("by=video" in n for n in recipe.notes), name
        assert state.startswith("whole") or name in ("glka-published-code", "temporal-pyramid-table3")


OU_AND_SUN = ("frame-attention", "temporal-pyramid")


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_recipe_names_exists(name):
    recipe = load_recipe(name)
    for spec in recipe.stores.values():
        layers = [f"{stream}={','.join(spec.layers_of(stream))}" for stream in spec["streams"]]
        given = {name: value for name, value in spec.settings.items() if name != "streams"} | {"layers": layers}
        for stream, settings in read_streams(spec["streams"], given).items():  # refuses unknown names and values
            assert settings.num_steps == spec.steps
            assert settings.views == spec["views"]
            assert settings.layers == spec.layers_of(stream)
        assert view_shapes(spec.read())
    for row in recipe.rows:
        made = head_class(row.head)
        head_options(row.head, row.options)
        read_training(made.paper, row.training)
        if row.fuse:
            make_fuser(row.fuse, **row.fuse_options)
        streams = recipe.stores[row.store]["streams"]
        branches = [f"{s}-{b}" for s in streams for b in row.options.get("branches", "").split("+")]
        assert {row.output, *row.of} <= {"", "fused", *streams, *branches}
    for dataset, by_head in recipe.training.items():
        assert dataset in (*recipe.datasets, "any")
        for head in by_head:
            read_training(head_class(head).paper, recipe.paper_training(head, dataset))


@pytest.mark.parametrize("name", recipe_names())
def test_heads_can_be_built_on_what_a_recipe_extracts(name):
    """Each row's head, with its options, on the shapes of its store, without memory for its weights."""
    import torch

    recipe = load_recipe(name)
    for row in recipe.rows:
        spec, made = recipe.stores[row.store], head_class(row.head)
        shapes = view_shapes(spec.read())
        read = {s: shapes[f"{s}/{made.reads.get(s) or made.reads['*']}"] for s in spec["streams"]}
        if hasattr(made, "paper_shapes") and not name.endswith(("table6", "table7", "table8", "code")):
            assert read == made.paper_shapes
        with torch.device("meta"):
            groups = [read] if made.joint else [{stream: shape} for stream, shape in read.items()]
            for group in groups:
                made(group, 101, **row.options | dict.fromkeys(made.starting, "random"))


@pytest.mark.parametrize(
    ("name", "head", "option"),
    [
        ("stfn-table1", "stfn", "design"),
        ("stfn-table2", "stfn", "fusion"),
        ("stfn-table3", "stfn", "direction"),
        ("glka-table2", "attention-streams", "composite"),
        ("glka-table3", "attention-streams", "composite"),
        ("glka-table5", "attention-streams", "sa"),
    ],
)
def test_rows_cover_every_choice_of_the_option_they_vary(name, head, option):
    """A head that gains a choice must gain a row."""
    choices = options_of(head_class(head))[option].choices
    rows = load_recipe(name).rows + load_recipe("stfn-text").rows
    assert {row.options[option] for row in rows if option in row.options} == set(choices)


def test_plan_says_the_command_and_the_cost():
    extraction, of_sports = plan_recipe(load_recipe("temporal-pyramid-table2"), pace=PACE)
    assert of_sports.dataset == "ucf-sports"  # of the table, though without a figure
    assert extraction.command == (
        "avr extract --dataset ucf11 --backbone vgg16 --weights IMAGENET1K_V1 --stream rgb,flow --layers rgb=conv5_3 "
        "--layers flow=conv4_2 --plan strided --segments 24 --stack 4 --resize 256 --crop 224 --out "
        "features/ucf11-vgg16-rgb-conv53-flow-conv42-strided24-weightsIMAGENET1KV1-stack4-resize256-crop224"
    )
    assert extraction.shapes == {"rgb/conv5_3": (24, 512, 14, 14), "flow/conv4_2": (24, 512, 28, 28)}
    # 24·512·(14² + 28²) values of 2 bytes, 1 600 videos
    assert extraction.gigabytes == pytest.approx(38.535168)
    # 24 steps of 4 pairs at 10 ms; VGG-16 has, by hand, 30.7·10⁹ operations to conv5_3, 24.5 to conv4_2 of 8 channels
    assert extraction.hours == pytest.approx(1600 * (24 * 4 * 0.01 + 24 * (30.7 + 24.5) / 100) / 3600, rel=0.005)


@pytest.mark.parametrize("name", recipe_names())
def test_planned_commands_are_commands_that_avr_takes(name):
    from avr.commands.extract import command

    for extraction in plan_recipe(load_recipe(name), pace=PACE):
        words = shlex.split(extraction.command)
        assert "kinetics-600" not in words or words[3:6] == ["kinetics", "--name", "kinetics-600"]
        assert words[:2] == ["avr", "extract"]
        command.make_context("extract", words[2:])  # parses; refuses unknown options and choices


def test_plan_takes_any_data_set_and_asks_for_its_size():
    plans = plan_recipe(load_recipe("stfn-table4"), pace=PACE, dataset="mine", videos=10)
    assert [plan.shapes["rgb/pooled"] for plan in plans] == [(n, 2048) for n in (3, 5, 7, 9)]
    assert len({plan.command for plan in plans}) == 4
    with pytest.raises(UsageError, match="number of videos in mine is not known here: give it with --videos"):
        plan_recipe(load_recipe("stfn-table4"), pace=PACE, dataset="mine")


def test_plan_refuses_a_number_of_videos_below_one(runner):
    with pytest.raises(UsageError, match="--videos must be at least 1, not -5"):
        plan_recipe(load_recipe("stfn-table4"), pace=PACE, dataset="mine", videos=-5)
    assert runner.invoke(main, ["recipe", "plan", "stfn-table4", "--videos", "-5"]).exit_code == 2


def test_the_networks_work_and_shapes_are_looked_up_without_computing():
    """Of any network and crop; torchvision counts 5.71·10⁹ multiplications with additions for Inception-V3 of 299."""
    spec = StoreSpec("a", {"backbone": "inception_v3", "streams": ("rgb",), "layers": ("pooled",), "segments": 1})
    own, smaller = (seconds_a_video(replace(spec, settings=spec.settings | {"crop": crop}), PACE) for crop in (0, 150))
    assert own == pytest.approx(2 * 5.71 / 100, rel=0.01)
    assert smaller < own / 3
    of_map = {"backbone": "squeezenet1_1", "streams": ("rgb",), "layers": ("map",), "segments": 2, "crop": 112}
    assert view_shapes(StoreSpec("a", of_map).read()) == {"rgb/map": (2, 512, 6, 6)}


def test_stores_have_the_papers_weights_and_input_size():
    """The papers' short side is 256, the network sees 224×224, Inception-V3 too (STFN 4.2); none had newer weights."""
    for name in recipe_names():
        for spec in load_recipe(name).stores.values():
            assert (spec["weights"], spec["resize"], spec["crop"]) == ("IMAGENET1K_V1", 256, 224)
            assert spec.finetune is not None


def test_two_sections_share_a_folder_only_when_their_settings_are_equal():
    plain = {"backbone": "resnet50", "streams": ("rgb", "flow"), "layers": ("pooled",)}
    others = {
        "streams": ("flow",), "weights": ("rgb=my/weights.pth",), "plan": "clips", "segments": 5, "per_segment": 2,
        "views": 5, "clip_stride": 10, "stack": 4, "flow": "tvl1", "resize": 256, "crop": 112, "layers": ("map",),
        "backbone": "resnet34",
    }  # fmt: skip
    assert set(others) == set(STORE_SETTINGS)
    slugs = [store_slug(StoreSpec("a", plain | {setting: value})) for setting, value in others.items()]
    slugs.append(store_slug(StoreSpec("a", plain | {"streams": ("rgb",)})))
    assert len({store_slug(StoreSpec("a", plain)), *slugs}) == len(others) + 2
    assert not any("/" in slug for slug in slugs)
    named = plain | {name: STORE_SETTINGS[name] for name in ("stack", "flow", "views", "crop")}
    assert store_slug(StoreSpec("b", named)) == store_slug(StoreSpec("a", plain)) == "resnet50-pooled-segments7"


def test_the_papers_data_sets_are_those_of_its_table_with_or_without_figures(tmp_path):
    assert load_recipe("temporal-pyramid-table1").datasets == ("ucf101",)
    assert load_recipe("temporal-pyramid-table2").datasets == ("ucf11", "ucf-sports")
    path = tmp_path / "mine.toml"
    path.write_text(
        VALID.replace('split = "first"', 'split = "first"\ndatasets = ["a", "b"]') + "figures = { b = 1, c = 2 }"
    )
    assert load_recipe(str(path)).datasets == ("a", "b", "c")


def test_stilts_streams_alone_train_as_stilt_says():
    """Section 4.2: the module and the streams alone have the same settings."""
    recipe = load_recipe("stilt-table4")
    for dataset, drop in (("ucf101", 10_000), ("kinetics", 10_000), ("hmdb51", 5_000)):
        linear, module = (
            read_training(head_class(head).paper, recipe.paper_training(head, dataset))
            for head in ("linear", "coattention")
        )
        assert (linear.optimizer, linear.lr, linear.momentum, linear.weight_decay) == ("sgd", 1e-3, 0.9, 5e-4)
        assert (linear.batch_size, linear.steps, linear.drop_every, linear.drop_unit) == (128, 50_000, drop, "steps")
        assert (linear.schedule, linear.validation) == (module.schedule, module.validation) == ("step", 0.0)
        assert module.drop_every == drop


def test_the_number_of_drawn_clips_is_the_data_sets():
    assert VIDEOS["shapes"] == len(shapes.CLASS_NAMES) * shapes.NUM_SCENES


VALID = """
title = "t"
paper = "p"
metric = "m"
split = "first"
[stores.main]
backbone = "resnet50"
streams = ["rgb"]
layers = ["pooled"]
[[rows]]
name = "one"
head = "linear"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "t"', "", "lacks 'title'"),
        ('title = "t"', 'title = "t"\ncolour = 1', "unknown entry 'colour'; known: datasets, metric, notes"),
        ('split = "first"', 'split = "second"', "split takes first"),
        ('head = "linear"', "head = 3", "row one: head=3 is not possible; head takes text"),
        ('backbone = "resnet50"', 'backbone = "resnet50"\nframes = 3', "stores.main: unknown entry 'frames'"),
        ('layers = ["pooled"]', 'layers = ["flow=map"]', "stores.main: no layer for stream rgb"),
        ('head = "linear"', 'head = "linear"\nstore = "other"', "row one: no section stores.other"),
        ('head = "linear"', 'head = "linear"\noutput = "rgb"\nfuse = "average"', "exclude one another"),
        ("[[rows]]", '[[rows]]\nname = "one"\nhead = "linear"\n[[rows]]', "two rows of one name"),
        ('title = "t"', "title", "no TOML"),
        ('title = "t"', 'title = "t"\ndatasets = 3', "datasets is no list"),
        (
            "[stores.main]\nbackbone",
            "[stores]\nmain = 3\n[x]\nbackbone",
            "unknown entry 'x'|stores.main: 3 is no table",
        ),
        ('streams = ["rgb"]', 'streams = "rgb"', "stores.main: streams is no list"),
        ("[[rows]]", "finetune = true\n[[rows]]", "mine.toml: stores.main: finetune is no table"),
        ("[[rows]]", "finetune = { augment = 1 }\n[[rows]]", "mine.toml: stores.main: finetune: unknown .* 'augment'"),
        ("[[rows]]", 'finetune = { mirror = "often" }\n[[rows]]', "mine.toml: stores.main: finetune: mirror=often is"),
    ],
)
def test_a_file_with_a_fault_is_refused_with_the_place(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(VALID)
    assert load_recipe(str(path)).name == "mine"
    path.write_text(VALID.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        load_recipe(str(path))


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown recipe .stfn. \(did you mean stfn-text\?\); known: frame-attention"):
        load_recipe("stfn")


@pytest.mark.parametrize("name", ["stilt-table4", "stilt-table5", "stilt-table6"])
def test_rows_of_awf_name_the_objective_that_they_measure(name):
    """Whatever awf's default is."""
    rows = [row for row in load_recipe(name).rows if row.fuse == "awf"]
    assert rows
    for row in rows:
        named = "likelihood" if "AWF with avr's likelihood objective" in row.name else "stilt"
        assert row.fuse_options == {"objective": named}
        assert (row.figures == {}) == (named == "likelihood")
