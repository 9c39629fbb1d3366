"""`statistics-pooling`: what it reads, and that its streams are solved each by itself."""

import numpy as np
import torch

from avr.heads import MemoryExamples, build_head, head_class, predict, train


def test_it_reads_means_and_changes_by_their_signed_roots():
    head = build_head("statistics-pooling", {"rgb": (3, 2)}, 4).eval()
    segments = torch.tensor([[[1.0, -4.0], [3.0, -4.0], [2.0, -1.0]]])
    expected = torch.tensor([[2.0**0.5, -(3.0**0.5), 1.5**0.5, 1.5**0.5]])  # changes 2, 1 and 0, 3
    torch.testing.assert_close(head.linear_inputs({"rgb": segments})["rgb"], expected)
    torch.testing.assert_close(head({"rgb": segments})["rgb"], head.classifiers["rgb"](expected))
    turned = head.linear_inputs({"rgb": segments[:, [0, 2, 1]]})["rgb"]
    assert not torch.equal(turned, expected)  # order matters


def test_one_segment_changes_nothing_and_a_map_is_read_by_its_mean():
    head = build_head("statistics-pooling", {"rgb": (1, 5, 2, 2)}, 4).eval()
    maps = torch.randn(2, 1, 5, 2, 2)
    vectors = head.linear_inputs(head.keep({"rgb": maps}))["rgb"]
    mean = maps.mean(dim=(1, 3, 4))
    torch.testing.assert_close(vectors, torch.cat([mean.sign() * mean.abs().sqrt(), torch.zeros(2, 5)], 1))
    still = torch.zeros(1, 1, 5, 2, 2, requires_grad=True)  # backbones end in a ReLU
    head.loss(head({"rgb": still}), torch.tensor([1])).backward()
    assert still.grad.isfinite().all()


def test_fused_is_the_product_of_streams_that_do_not_know_one_another():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 4
    arrays = {
        s: (random.normal(size=(60, 3, 9)) + 3 * part[:, None, None]).astype(np.float32)
        for s, part in (("rgb", labels // 2), ("flow", labels % 2))
    }
    groups = np.arange(60) // 5
    told = {"training": head_class("statistics-pooling").defaults, "groups": groups, "names": groups.astype(str)}

    def outputs(*streams: str) -> dict:
        examples = MemoryExamples({s: arrays[s] for s in streams}, np.ones(60), labels, device=torch.device("cpu"))
        head = build_head("statistics-pooling", examples.shapes, 4)
        rows = train(head, examples, np.arange(40), seed=0, **told).rows
        assert len({row["step"] for row in rows}) == len(rows)
        return predict(head, examples, np.arange(40, 60))

    both, rgb, flow = outputs("rgb", "flow"), outputs("rgb"), outputs("flow")
    np.testing.assert_allclose(both["rgb"], rgb["rgb"], atol=1e-5)
    product = torch.log_softmax(torch.as_tensor(rgb["rgb"] + flow["flow"]) / 2, dim=1)
    np.testing.assert_allclose(both["fused"], product, atol=1e-4)
    right = {name: (scores.argmax(axis=1) == labels[40:]).mean() for name, scores in both.items()}
    assert right["fused"] >= 0.9 > 0.7 > max(right["rgb"], right["flow"])


def test_its_layers_train_step_by_step_too():
    """End to end, where backbones move, nothing is solved."""
    head = build_head("statistics-pooling", {"rgb": (3, 4), "flow": (3, 4)}, 5)
    outputs = head({s: torch.randn(2, 3, 4) for s in ("rgb", "flow")})
    head.loss(outputs, torch.tensor([0, 3])).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in head.parameters())
