import signal

import pytest
import torch
import torch.nn.functional as F

from labkit.data.arithmetic import SYMBOLS, all_queries
from labkit.models.seq2seq import (
    START,
    Answer,
    GlyphDecoder,
    GlyphEncoder,
    OneHot,
    Seq2Seq,
    StyledSeq2Seq,
    attention,
    keras_start,
)
from labkit.models.transformer import MultiHeadAttention, Transformer
from labkit.training import arithmetic

N, L, T, K = 6, 5, 3, 13
TEACHER_FORCED = ["attention", "Transformer"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def query():
    return torch.randint(K, (N, L))


def test_attention_is_torchs_with_and_without_a_mask():
    q, k, v = torch.randn(2, 4, 3, 8), torch.randn(2, 4, 5, 8), torch.randn(2, 4, 5, 6)
    mask = torch.ones(3, 5, dtype=torch.bool).tril(1)
    for allowed in (None, mask):
        values, weights = attention(q, k, v, allowed)
        torch.testing.assert_close(
            values, F.scaled_dot_product_attention(q, k, v, attn_mask=allowed), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 3))
    assert (weights[..., ~mask] == 0).all()


def test_multi_head_attention_with_copied_weights_gives_torchs_outputs_and_weights():
    ours, theirs = MultiHeadAttention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.kv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, memory = torch.randn(N, T, 16), torch.randn(N, L, 16)
    expected = theirs(x, memory, memory, average_attn_weights=False)
    for mine, torchs in zip(ours(x, memory), expected, strict=True):
        torch.testing.assert_close(mine, torchs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", TEACHER_FORCED)
def test_teacher_forced_with_its_own_answer_a_model_gives_the_logits_of_its_greedy_answer(
    model, query
):
    network = arithmetic.build(model).eval()
    answer = network.answer(query)
    assert (
        answer.tokens.shape == (N, T)
        and answer.logits.shape == (N, T, K)
        and answer.weights.shape == (N, T, L)
    )
    torch.testing.assert_close(network(query, answer.tokens), answer.logits, atol=1e-5, rtol=1e-4)
    assert torch.equal(answer.logits.argmax(-1), answer.tokens)
    torch.testing.assert_close(answer.weights.sum(-1), torch.ones(N, T))


@pytest.mark.parametrize("model", TEACHER_FORCED)
def test_a_symbol_is_written_from_those_before_it_and_never_from_itself_or_later_ones(model, query):
    network = arithmetic.build(model).eval()
    one, other = torch.randint(K, (2, N, T))
    other[:, 0] = one[:, 0]
    other[:, 1] = (one[:, 1] + 1) % K
    a, b = network(query, one), network(query, other)
    torch.testing.assert_close(a[:, :2], b[:, :2])
    assert not torch.allclose(a[:, 2], b[:, 2])


def test_the_repeat_vector_is_all_that_the_decoder_is_told(query):
    network = arithmetic.build("text→text").eval()
    _, (h, _) = network.encoder(network.reader(query))
    by_hand = network.writer(network.decoder(torch.stack([h[0]] * T, dim=1))[0])
    torch.testing.assert_close(network(query), by_hand)
    answer = network.answer(query)
    assert answer.weights is None and torch.equal(answer.tokens, by_hand.argmax(-1))


def test_confidence_is_the_probability_of_the_symbol_that_is_answered():
    logits = torch.tensor([[[0.8, 0.2]]]).log()
    assert Answer(logits.argmax(-1), logits).confidence.item() == pytest.approx(0.8)


@pytest.mark.parametrize("model", arithmetic.RECIPES)
def test_an_answer_does_not_depend_on_its_neighbours_in_the_batch_and_every_part_learns(
    model, query
):
    network = arithmetic.build(model).eval()
    if model == "image→text":
        query = torch.randint(256, (N, L, 1, 28, 28), dtype=torch.uint8)
    how = {"temperature": 0.0} if "styled" in model else {"answers": torch.randint(K, (N, T))}
    whole = network(query, **how)
    how = {k: v[2:3] if k == "answers" else v for k, v in how.items()}
    torch.testing.assert_close(network(query[2:3], **how), whole[2:3], atol=1e-5, rtol=1e-4)
    loss = (
        network.elbo(query, torch.rand(N, T, 1, 28, 28)).negative.mean()
        if "styled" in model
        else (whole**2).mean()
    )
    loss.backward()
    learns = {
        name
        for name, p in network.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert learns | frozen == {name for name, _ in network.named_parameters()}
    assert all(name.startswith(("encoder", "decoder", "writer")) for name in frozen) and bool(
        frozen
    ) == ("," in model)


def test_a_transformer_without_places_cannot_tell_14_from_41(query):
    network = Transformer().eval()
    answers, shuffled = torch.randint(K, (N, T)), query[:, torch.tensor([1, 0, 2, 3, 4])]
    assert not torch.allclose(network(query, answers), network(shuffled, answers), atol=1e-3)
    torch.nn.init.zeros_(network.query_places)
    torch.testing.assert_close(
        network(query, answers), network(shuffled, answers), atol=1e-5, rtol=1e-4
    )


def test_pictures_are_encoded_and_drawn_each_by_itself():
    encoder, decoder = GlyphEncoder(16).eval(), GlyphDecoder(32).eval()
    images, order = (
        torch.randint(256, (2, L, 1, 28, 28), dtype=torch.uint8),
        torch.tensor([3, 0, 4, 1, 2]),
    )
    torch.testing.assert_close(
        encoder(images)[:, order], encoder(images[:, order]), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(encoder(images), encoder(images / 255))
    h = torch.randn(2, T, 32)
    pictures = decoder(h)
    assert pictures.shape == (2, T, 1, 28, 28) and pictures.min() >= 0 and pictures.max() <= 1
    torch.testing.assert_close(decoder(h.flip(1)), pictures.flip(1), atol=1e-5, rtol=1e-4)


def test_an_lstm_starts_orthogonal_with_open_forget_gates():
    lstm = torch.nn.LSTM(K, 16)
    keras_start(lstm)
    for gate in lstm.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)
    closed = torch.nn.LSTM(1, 1)
    keras_start(closed)
    for weight in (closed.weight_ih_l0, closed.weight_hh_l0):
        torch.nn.init.zeros_(weight)
    _, (_, c) = closed(torch.zeros(1, 1, 1), (torch.zeros(1, 1, 1), torch.ones(1, 1, 1)))
    assert c.item() == pytest.approx(
        torch.sigmoid(torch.tensor(1.0)).item()
    )  # what torch itself takes for the forget gate is open


def test_styles_change_the_pictures_and_at_temperature_zero_there_is_one_hand(query):
    network = StyledSeq2Seq().eval()
    torch.testing.assert_close(network(query, temperature=0.0), network(query, temperature=0.0))
    assert not torch.allclose(network(query), network(query))
    pictures = torch.rand(N, T, 1, 28, 28)
    terms = network.elbo(query, pictures)
    assert terms.reconstruction.shape == terms.kl.shape == (N * T,) and (terms.kl >= 0).all()


def test_squared_error_draws_the_mean_of_what_was_shown_and_a_style_does_not():
    """Two hands write the same symbol: black and white pictures, half each. The least squared error
    is grey.
    """
    network = Seq2Seq(OneHot(), GlyphDecoder(32, base=4), hidden_dim=32, answer_length=1)
    styled = StyledSeq2Seq(hidden_dim=32, style_dim=2, answer_length=1)
    query = torch.zeros(16, 1, dtype=torch.int64)
    hands = (torch.arange(16) % 2).float()[:, None, None, None, None].expand(-1, 1, 1, 28, 28)

    def fit(parameters, loss):
        optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=0.01)
        for _ in range(50):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    fit(network.parameters(), lambda: F.mse_loss(network(query), hands))
    fit(styled.parameters(), lambda: styled.elbo(query, hands).negative.mean())
    with torch.no_grad():
        means, drawn = (
            network.eval()(query).mean((1, 2, 3, 4)),
            styled.eval()(query).mean((1, 2, 3, 4)),
        )
    assert (means - 0.5).abs().max() < 0.1
    assert ((drawn < 0.2) | (drawn > 0.8)).double().mean() > 0.6


class Truthful(torch.nn.Module):
    """Knows the answer of every query, and writes it as its task wants it."""

    def __init__(self, task):
        super().__init__()
        self.register_buffer("weight", torch.zeros(1))
        self.parameter = torch.nn.Parameter(torch.zeros(1))
        queries = all_queries()
        self.known = {
            tuple(q): a
            for q, a in zip(task.query(queries).tolist(), task.answer(queries), strict=True)
        }

    def answer(self, query):
        tokens = torch.stack([self.known[tuple(row)] for row in query.tolist()])
        return Answer(tokens, F.one_hot(tokens, K).float())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("units_first", [False, True])
def test_answers_are_given_hundreds_first_whatever_the_order_the_model_works_in(
    reverse, units_first
):
    task = arithmetic.Task(reverse=reverse, units_first=units_first)
    _, held_out = task.sides()
    answer = arithmetic.answer_all(Truthful(task), held_out, task)
    assert torch.equal(answer.tokens, held_out.answers())
    assert torch.equal(answer.logits.argmax(-1), held_out.answers())


def test_the_sides_of_a_task_share_no_pair_and_a_wider_task_asks_the_same_queries():
    for task in (arithmetic.Task(), arithmetic.Task(digits=4, operators="+")):
        train, held_out = task.sides(n=500)
        assert len(train) and len(held_out) and not torch.isin(train.pair, held_out.pair).any()
    wide = arithmetic.Task(width=3).sides()[1]
    assert wide.tokens().shape[1] == 7 and torch.equal(
        wide.result, arithmetic.Task().sides()[1].result
    )
    outside = arithmetic.Task(by="operand", held_out=[40, 50]).sides()
    assert not torch.isin(torch.stack([outside[0].a, outside[0].b]), torch.arange(40, 50)).any()


def test_training_learns_one_digit_sums_and_gives_the_same_weights_again():
    runs = [
        arithmetic.train(
            seed=1, steps=60, batch_size=32, lr=0.02, digits=1, operators="+", log_every=30
        )
        for _ in range(2)
    ]
    for name, value in runs[0]["network"].items():
        assert torch.equal(value, runs[1]["network"][name]), name
    last = runs[0]["history"][-1]
    # knowing how often each symbol stands at each place, and nothing of the query, costs (H(9/20) +
    # ln 10)/2 = 1.5 nats
    assert last["train_loss"] < 1.3 and 0 <= last["exact"] <= last["characters"] <= 1


def test_queries_drawn_anew_are_those_of_the_training_side():
    task = arithmetic.Task(digits=4, operators="+")
    drawn, held_out = task.fresh(3000, torch.Generator().manual_seed(5)), task.sides(3000)[1]
    assert (
        (drawn.sign == 1).all()
        and drawn.a.max() > 9000
        and not torch.isin(drawn.pair, held_out.pair).any()
    )
    assert (
        len(
            arithmetic.train(steps=2, batch_size=8, digits=4, operators="+", units_first=True)[
                "history"
            ]
        )
        == 1
    )


def test_models_of_pictures_train_on_stand_ins_from_the_weights_of_a_model_of_text(data_home):
    text = arithmetic.train(steps=2, batch_size=8)["network"]
    for model in ("image→text", "text→image", "text→image, named", "text→image, styled"):
        run = arithmetic.train(
            model, steps=2, batch_size=8, size=[100, 100], start=text, held_out=0.01
        )
        network = arithmetic.build(model)
        network.load_state_dict(run["network"])
        same = torch.equal(run["network"]["encoder.weight_hh_l0"], text["encoder.weight_hh_l0"])
        assert same == ("," in model)  # whose LSTMs stay as they are
        queries = all_queries()[slice(0, 40)]
        if model == "image→text":
            assert set(run["history"][-1]) == {"step", "train_loss", "exact", "characters"}
        else:
            pictures = arithmetic.write_all(network, queries)
            assert pictures.shape == (40, T, 1, 28, 28) and pictures.dtype == torch.uint8
            assert torch.equal(pictures, arithmetic.write_all(network, queries))


def test_the_noise_of_the_styles_comes_from_the_seed(data_home):
    text = arithmetic.build("text→text").state_dict()
    runs = [
        arithmetic.train(
            "text→image, styled",
            steps=2,
            batch_size=8,
            size=[100, 100],
            start=text,
            held_out=0.01,
            digits=2,
        )["network"]
        for _ in range(2)
    ]
    assert all(torch.equal(w, runs[1][name]) for name, w in runs[0].items())


def test_a_start_that_fits_nowhere_or_is_missing_where_needed_is_refused():
    with pytest.raises(ValueError, match="start="):
        arithmetic.train("text→image, named", steps=1)
    with pytest.raises(ValueError, match="no part in common"):
        arithmetic.train("Transformer", steps=1, start=arithmetic.build("text→text").state_dict())


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="Transformer.*got 'GPT'"):
        arithmetic.build("GPT")


def test_the_start_symbol_is_none_of_the_thirteen():
    assert len(SYMBOLS) == K == START
    with pytest.raises(RuntimeError):
        OneHot()(torch.tensor([[START]]))


def test_fresh_queries_have_the_places_of_their_task():
    task = arithmetic.Task(digits=4, width=5, operators="+")
    queries = task.fresh(8, torch.Generator().manual_seed(0))
    assert task.query(queries).shape == (8, 11) and task.answer(queries).shape == (8, 6)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(digits=2, width=1), "as many places"),
        (dict(digits=4, by="operand", held_out=[40, 50]), "drawn, not listed"),
        (dict(digits=4), "for how many steps"),
        (dict(model="text→image", reverse=True), "leave out reverse"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        arithmetic.train(**{"epochs": 0.01, **settings})


@pytest.mark.parametrize("steps", range(1, 7))
def test_the_shortest_training_is_possible(steps):
    run = arithmetic.train(steps=steps, batch_size=4, digits=1, operators="+")
    assert run["history"][-1]["step"] == steps


def test_the_probe_of_the_curve_has_sums_and_differences(monkeypatch):
    seen = []
    monkeypatch.setattr(
        arithmetic, "scores", lambda network, probe, *rest: seen.append(probe) or {}
    )
    for held_out in (0.2, 0.5):
        arithmetic.train(steps=1, held_out=held_out)
    assert all(0.4 < (probe.sign > 0).double().mean() < 0.6 and len(probe) > 500 for probe in seen)


@pytest.mark.parametrize(
    "task",
    [
        dict(digits=1, operators="+"),
        dict(model="attention", digits=4, operators="+", units_first=True),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, task):
    settings = dict(steps=8, batch_size=8, log_every=4, **task)
    whole = arithmetic.train(**settings)
    calls, loss_of = [], arithmetic.loss_of

    def interrupt_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return loss_of(*arguments)

    monkeypatch.setattr(arithmetic, "loss_of", interrupt_the_third)
    with pytest.raises(KeyboardInterrupt, match="step 3 of 8"):
        arithmetic.train(**settings, checkpoint=tmp_path / "run.pt")
    resumed = arithmetic.train(**settings, checkpoint=tmp_path / "run.pt")
    assert len(calls) == 8 and resumed["history"] == whole["history"]
    assert all(
        torch.equal(value, whole["network"][name]) for name, value in resumed["network"].items()
    )


def test_a_checkpoint_that_began_elsewhere_is_not_taken_up(tmp_path, monkeypatch, capsys):
    settings = dict(steps=4, batch_size=8, digits=1, operators="+")
    starts = [arithmetic.train(**settings, seed=seed)["network"] for seed in (1, 2)]
    loss_of = arithmetic.loss_of
    monkeypatch.setattr(
        arithmetic,
        "loss_of",
        lambda *arguments: signal.raise_signal(signal.SIGINT) or loss_of(*arguments),
    )
    with pytest.raises(KeyboardInterrupt):
        arithmetic.train(**settings, start=starts[0], checkpoint=tmp_path / "run.pt")
    monkeypatch.setattr(arithmetic, "loss_of", loss_of)
    run = arithmetic.train(**settings, start=starts[1], checkpoint=tmp_path / "run.pt")
    assert "belongs to other settings" in capsys.readouterr().out
    again = arithmetic.train(**settings, start=starts[1])
    assert all(torch.equal(value, again["network"][name]) for name, value in run["network"].items())


def test_a_start_that_lacks_a_part_of_the_text_model_is_refused():
    half = {
        name: w
        for name, w in arithmetic.build("text→text").state_dict().items()
        if not name.startswith("decoder")
    }
    with pytest.raises(ValueError, match="give the weights of a model like it"):
        arithmetic.train("text→image, named", steps=1, size=[300, 200], start=half)
