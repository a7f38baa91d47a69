import math

import pytest
import torch
import torch.nn.functional as F

from labkit.metrics.gradients import gradient_flow
from labkit.models import LSTM, VanillaRNN

N, T, D, H, K = 6, 12, 10, 16, 10


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(N, T, D), torch.randint(K, (N,))


def torch_lstm_like(ours):
    theirs = torch.nn.LSTM(D, H, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([ours.W_ix, ours.W_fx, ours.W_gx, ours.W_ox], dim=1).T)
        theirs.weight_hh_l0.copy_(torch.cat([ours.W_ih, ours.W_fh, ours.W_gh, ours.W_oh], dim=1).T)
        theirs.bias_ih_l0.copy_(torch.cat([ours.b_i, ours.b_f, ours.b_g, ours.b_o]))
        theirs.bias_hh_l0.zero_()
    return theirs


def test_parameters_have_the_papers_names_and_shapes():
    shapes = {name: tuple(p.shape) for name, p in LSTM(D, H, K).named_parameters()}
    expected = (
        {f"W_{g}x": (D, H) for g in "gifo"}
        | {f"W_{g}h": (H, H) for g in "gifo"}
        | {f"b_{g}": (H,) for g in "gifo"}
    )
    assert shapes == expected | {"W_ph": (H, K), "b_p": (K,)}
    shapes = {name: tuple(p.shape) for name, p in VanillaRNN(D, H, K).named_parameters()}
    assert shapes == {"W_hx": (D, H), "W_hh": (H, H), "b_h": (H,), "W_ph": (H, K), "b_p": (K,)}


def test_lstm_with_copied_weights_gives_torchs_outputs_and_gradients(batch):
    x, y = batch
    ours = LSTM(D, H, K, forget_bias=0.5)
    torch.nn.init.normal_(ours.b_i)
    theirs = torch_lstm_like(ours)
    outputs, (_, c) = theirs(x)
    trace = ours.trace(x)
    torch.testing.assert_close(trace.h, outputs, atol=1e-5, rtol=0)
    torch.testing.assert_close(trace.c[:, -1], c[0], atol=1e-5, rtol=0)
    F.cross_entropy(ours(x), y).backward()
    F.cross_entropy(outputs[:, -1] @ ours.W_ph.detach() + ours.b_p.detach(), y).backward()
    for k, gate in enumerate("ifgo"):
        rows = slice(k * H, (k + 1) * H)
        for name, parameter in (("x", theirs.weight_ih_l0), ("h", theirs.weight_hh_l0)):
            torch.testing.assert_close(
                getattr(ours, f"W_{gate}{name}").grad, parameter.grad[rows].T, atol=1e-5, rtol=0
            )
        torch.testing.assert_close(
            getattr(ours, f"b_{gate}").grad, theirs.bias_ih_l0.grad[rows], atol=1e-5, rtol=0
        )


def test_torchs_weights_copied_into_ours_give_the_same_outputs(batch):
    x, _ = batch
    theirs, ours = torch.nn.LSTM(D, H, batch_first=True), LSTM(D, H, K)
    with torch.no_grad():
        for k, gate in enumerate("ifgo"):
            rows = slice(k * H, (k + 1) * H)
            getattr(ours, f"W_{gate}x").copy_(theirs.weight_ih_l0[rows].T)
            getattr(ours, f"W_{gate}h").copy_(theirs.weight_hh_l0[rows].T)
            getattr(ours, f"b_{gate}").copy_(theirs.bias_ih_l0[rows] + theirs.bias_hh_l0[rows])
    torch.testing.assert_close(ours.trace(x).h, theirs(x)[0], atol=1e-5, rtol=0)


def test_rnn_with_copied_weights_gives_torchs_outputs_and_gradients(batch):
    x, y = batch
    ours, theirs = VanillaRNN(D, H, K), torch.nn.RNN(D, H, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.W_hx.T)
        theirs.weight_hh_l0.copy_(ours.W_hh.T)
        theirs.bias_ih_l0.zero_()
        theirs.bias_hh_l0.zero_()
    outputs, _ = theirs(x)
    torch.testing.assert_close(ours.trace(x).h, outputs, atol=1e-5, rtol=0)
    F.cross_entropy(ours(x), y).backward()
    F.cross_entropy(outputs[:, -1] @ ours.W_ph.detach() + ours.b_p.detach(), y).backward()
    torch.testing.assert_close(ours.W_hh.grad, theirs.weight_hh_l0.grad.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", [LSTM, VanillaRNN])
def test_every_parameter_learns_and_logits_are_not_probabilities(model, batch):
    x, y = batch
    network = model(D, H, K)
    logits = network(x)
    assert logits.shape == (N, K) and not torch.allclose(logits.sum(1), torch.ones(N), atol=1e-3)
    F.cross_entropy(logits, y).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("model", [LSTM, VanillaRNN])
def test_the_logits_are_the_read_out_of_the_last_state_of_the_trace(model, batch):
    x, _ = batch
    network = model(D, H, K)
    torch.testing.assert_close(network(x), network.read_out(network.trace(x).h[:, -1]))
    assert network.trace(x).h.shape == (N, T, H)


def test_weights_begin_with_variance_one_over_fan_in_and_biases_at_zero():
    torch.manual_seed(0)
    network = LSTM(50, 400, K)
    assert network.W_gx.var().item() == pytest.approx(1 / 50, rel=0.1)
    assert network.W_fh.var().item() == pytest.approx(1 / 400, rel=0.05)
    assert all((getattr(network, f"b_{g}") == 0).all() for g in "gifop")


def test_forget_bias_opens_the_gate_and_chrono_spreads_memories_over_the_length():
    assert (LSTM(D, H, K, forget_bias=3).b_f == 3).all()
    network = LSTM(D, 4000, K, chrono_length=50)
    spans = network.b_f.exp()  # u ~ U(1, 49)
    assert (
        1 <= spans.min() < 3
        and 47 < spans.max() <= 49
        and spans.mean().item() == pytest.approx(25, abs=1)
    )
    assert torch.equal(network.b_i, -network.b_f)
    assert all(isinstance(p, torch.nn.Parameter) for p in network.parameters())
    with pytest.raises(ValueError, match="chrono_length"):
        LSTM(D, H, K, chrono_length=1)


def test_a_closed_input_gate_and_an_open_forget_gate_keep_the_cell(batch):
    x, _ = batch
    network = LSTM(D, H, K, forget_bias=50)
    torch.nn.init.constant_(network.b_i, -50)
    c = network.trace(x).c
    torch.testing.assert_close(c, torch.zeros_like(c), atol=1e-6, rtol=0)


def test_orthogonal_rnn_keeps_the_length_of_what_it_carries():
    W = VanillaRNN(D, H, K, orthogonal=True).W_hh
    torch.testing.assert_close(W @ W.T, torch.eye(H), atol=1e-5, rtol=0)


def test_with_gates_cut_from_their_inputs_the_cell_gradient_is_the_product_of_forget_gates(batch):
    """∂c_t/∂c_{t−1} = f_t is exact only where h does not feed back: then ‖∂L/∂c_t‖ shrinks by f at
    every step.
    """
    x, y = batch
    network = LSTM(D, H, K, forget_bias=math.log(0.8 / 0.2))  # σ(b_f) = 0.8
    for g in "gifo":
        torch.nn.init.zeros_(getattr(network, f"W_{g}h"))
    torch.nn.init.zeros_(network.W_fx)
    flow = gradient_flow(network, x, y)
    torch.testing.assert_close(
        flow["forget product"], 0.8 ** torch.arange(T - 1, -1, -1.0), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        flow["dL/dc"] / flow["dL/dc"][-1], flow["forget product"], atol=1e-5, rtol=1e-4
    )


def test_gradient_flow_matches_a_finite_difference():
    torch.manual_seed(1)
    network = VanillaRNN(D, H, K).double()
    x, y = torch.randn(1, T, D, dtype=torch.double), torch.tensor([3])
    flow = gradient_flow(network, x, y)["dL/dh"]
    # a nudge of h_T moves the loss by the norm of its gradient, along that gradient
    h = network.trace(x).h[:, -1].detach().requires_grad_()
    gradient = torch.autograd.grad(F.cross_entropy(network.read_out(h), y), h)[0]
    nudge = 1e-6 * gradient / gradient.norm()
    change = F.cross_entropy(network.read_out(h + nudge), y) - F.cross_entropy(
        network.read_out(h - nudge), y
    )
    assert change.item() / 2e-6 == pytest.approx(flow[-1].item(), rel=1e-6)
