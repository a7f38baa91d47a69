"""Sequence models against torch's own; what their training learns from, and what it refuses."""

import signal
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from labkit.data import images
from labkit.data.arithmetic import SYMBOLS, all_queries
from labkit.models.seq2seq import Answer, AttentionSeq2Seq, OneHot, Seq2Seq, attention, keras_init
from labkit.models.transformer import Block, MultiHeadAttention, Transformer
from labkit.studies import arithmetic
from labkit.studies.arithmetic import (
    ATTENTION,
    LSTM,
    TRANSFORMER,
    ArithmeticRun,
    ImageToText,
    Task,
    TextToImage,
    answer_queries,
    draw_answers,
    run,
)
from labkit.studies.drawn_arithmetic import (
    GlyphDecoder,
    GlyphEncoder,
    NamedSeq2Seq,
    StraightThrough,
    StyledSeq2Seq,
)
from labkit.studies.seq2seq_training import Pairs, Seq2SeqSettings, TextToText, train_seq2seq

N, L, T, K = 6, 5, 3, 13
TEACHER_FORCED = [AttentionSeq2Seq, Transformer]
DRAWING = [NamedSeq2Seq, StyledSeq2Seq]


def reads_images():
    return Seq2Seq(embed=torch.nn.Sequential(GlyphEncoder(K), StraightThrough()))


def draws():
    return Seq2Seq(output=GlyphDecoder(256))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def query():
    return torch.randint(K, (N, L))


def test_attention_is_torchs_with_and_without_a_mask():
    q, k, v = torch.randn(2, 4, 3, 8), torch.randn(2, 4, 5, 8), torch.randn(2, 4, 5, 6)
    mask = torch.ones(3, 5, dtype=torch.bool).tril(1)
    for chosen in (None, mask):
        values, weights = attention(q, k, v, chosen)
        torch.testing.assert_close(
            values, F.scaled_dot_product_attention(q, k, v, attn_mask=chosen), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 3))
    assert (weights[..., ~mask] == 0).all()


def test_multi_head_attention_with_copied_weights_gives_torchs_outputs_and_weights():
    ours, theirs = MultiHeadAttention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.to_q.weight, ours.to_kv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.to_q.bias, ours.to_kv.bias]))
        theirs.out_proj.load_state_dict(ours.to_out.state_dict())
    x, memory = torch.randn(N, T, 16), torch.randn(N, L, 16)
    for mask in (None, torch.ones(T, L, dtype=torch.bool).tril()):
        forbidden = None if mask is None else ~mask  # torch says where not to look
        expected = theirs(x, memory, memory, attn_mask=forbidden, average_attn_weights=False)
        for mine, torchs in zip(ours(x, memory, mask), expected, strict=True):
            torch.testing.assert_close(mine, torchs, atol=1e-5, rtol=0)


def test_a_block_adds_what_each_part_finds_to_what_comes_in():
    block, x, memory = Block(16, 4, cross=True), torch.randn(N, T, 16), torch.randn(N, L, 16)
    for silenced in (block.self_attn.to_out, block.cross_attn.to_out, block.mlp[-1]):
        assert not torch.allclose(block(x, memory)[0], x)
        torch.nn.init.zeros_(silenced.weight)
        torch.nn.init.zeros_(silenced.bias)
    torch.testing.assert_close(block(x, memory)[0], x)


@pytest.mark.parametrize("model", TEACHER_FORCED)
def test_teacher_forced_with_its_own_answer_a_model_gives_the_logits_of_its_greedy_answer(
    model, query
):
    network = model().eval()
    answer = network.generate(query)
    assert answer.tokens.shape == (N, T) and answer.logits.shape == (N, T, K)
    assert answer.weights.shape == (N, T, L)
    torch.testing.assert_close(network(query, answer.tokens), answer.logits, atol=1e-5, rtol=1e-4)
    assert torch.equal(answer.logits.argmax(-1), answer.tokens)
    torch.testing.assert_close(answer.weights.sum(-1), torch.ones(N, T))


@pytest.mark.parametrize("model", TEACHER_FORCED)
def test_a_symbol_is_written_from_those_before_it_and_never_from_itself_or_later_ones(model, query):
    network = model().eval()
    one, other = torch.randint(K, (2, N, T))
    other[:, 0] = one[:, 0]
    other[:, 1] = (one[:, 1] + 1) % K
    a, b = network(query, one), network(query, other)
    torch.testing.assert_close(a[:, :2], b[:, :2])
    assert not torch.allclose(a[:, 2], b[:, 2])


def test_the_repeat_vector_is_all_that_the_decoder_is_told(query):
    network = Seq2Seq().eval()
    _, (h, _) = network.encoder(network.embed(query))
    by_hand = network.output(network.decoder(torch.stack([h[0]] * T, dim=1))[0])
    torch.testing.assert_close(network(query), by_hand)
    answer = network.generate(query)
    assert answer.weights is None and torch.equal(answer.tokens, by_hand.argmax(-1))


@pytest.mark.parametrize("model", [Seq2Seq, *TEACHER_FORCED, reads_images, draws, *DRAWING])
def test_an_answer_does_not_depend_on_its_neighbours_in_the_batch_and_every_part_learns(
    model, query
):
    network, styled = model().eval(), model is StyledSeq2Seq
    if model is reads_images:
        query = torch.randint(256, (N, L, 1, 28, 28), dtype=torch.uint8)
    answers = torch.randint(K, (N, T))
    forward = partial(network, temperature=0.0) if styled else network
    whole = forward(query, answers)
    torch.testing.assert_close(forward(query[2:3], answers[2:3]), whole[2:3], atol=1e-5, rtol=1e-4)
    terms = network.elbo(query, torch.rand(N, T, 1, 28, 28)) if styled else None
    (terms.negative_elbo.mean() if styled else (whole**2).mean()).backward()
    parameters = dict(network.named_parameters())
    learns = {k for k, p in parameters.items() if p.grad is not None and p.grad.abs().sum() > 0}
    frozen = {k for k, p in parameters.items() if not p.requires_grad}
    assert learns | frozen == set(parameters)
    parts = {name.split(".")[0] for name in frozen}
    assert parts == ({"encoder", "decoder", "output"} if model in DRAWING else set())


def test_a_transformer_without_places_cannot_tell_14_from_41(query):
    network = Transformer().eval()
    answers, shuffled = torch.randint(K, (N, T)), query[:, torch.tensor([1, 0, 2, 3, 4])]
    assert not torch.allclose(network(query, answers), network(shuffled, answers), atol=1e-3)
    torch.nn.init.zeros_(network.query_positional_embedding)
    torch.testing.assert_close(
        network(query, answers), network(shuffled, answers), atol=1e-5, rtol=1e-4
    )


def test_a_transformer_refuses_a_query_that_is_too_long():
    with pytest.raises(ValueError, match="query_length=7"):
        Transformer().generate(torch.zeros(1, 7, dtype=torch.int64))
    assert Transformer(query_length=7).generate(torch.zeros(1, 7, dtype=torch.int64)).tokens.any()


def test_what_goes_on_from_a_picture_is_one_symbol_and_its_gradient_the_softmaxs():
    logits = torch.randn(N, L, K, requires_grad=True)
    indicator, slope = StraightThrough()(logits), torch.randn(N, L, K)
    torch.testing.assert_close(indicator, F.one_hot(logits.argmax(-1), K).float())
    expected = torch.autograd.grad((logits.softmax(-1) * slope).sum(), logits)[0]
    torch.testing.assert_close(torch.autograd.grad((indicator * slope).sum(), logits)[0], expected)


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
    keras_init(lstm)
    for gate in lstm.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)
    closed = torch.nn.LSTM(1, 1)
    keras_init(closed)
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


def test_what_is_to_be_drawn_stands_before_the_style_and_is_ten_times_as_loud(query):
    network, seen = StyledSeq2Seq().eval(), []
    network.glyph_decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(query)
    named, z = seen[0].split([K, network.style_dim], dim=-1)
    torch.testing.assert_close(named, 10 * network.probabilities(query))
    assert z.std().item() == pytest.approx(1, abs=0.3)


def test_squared_error_draws_the_mean_of_what_was_shown_and_a_style_does_not():
    """Two hands write the same symbol: black and white pictures, half each. The least squared error
    is grey.
    """
    network = Seq2Seq(1, output=GlyphDecoder(32, base=4), hidden_dim=32)
    styled = StyledSeq2Seq(1, hidden_dim=32, style_dim=2)
    query = torch.zeros(16, 1, dtype=torch.int64)
    hands = (torch.arange(16) % 2).float()[:, None, None, None, None].expand(-1, 1, 1, 28, 28)

    def fit(parameters, loss):
        optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=0.01)
        for _ in range(50):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    fit(network.parameters(), lambda: F.mse_loss(network(query), hands))
    fit(styled.parameters(), lambda: styled.elbo(query, hands).negative_elbo.mean())
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
        self.parameter = torch.nn.Parameter(torch.zeros(1))
        query, answer = task.pairs(all_queries())
        self.known = {tuple(q): a for q, a in zip(query.tolist(), answer, strict=True)}

    def generate(self, query):
        tokens = torch.stack([self.known[tuple(row)] for row in query.tolist()])
        return Answer(tokens, F.one_hot(tokens, K).float())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("units_first", [False, True])
def test_answers_are_given_hundreds_first_whatever_the_order_the_model_works_in(
    reverse, units_first
):
    task = Task(reverse=reverse, units_first=units_first)
    _, test = task.sides()
    answer = answer_queries(Truthful(task), test, task)
    assert torch.equal(answer.tokens, test.answers())
    assert torch.equal(answer.logits.argmax(-1), test.answers())


def test_the_sides_of_a_task_share_no_pair_and_a_wider_task_asks_the_same_queries():
    for task in (Task(), Task(digits=4, operators="+")):
        train, test = task.sides(n=500)
        assert len(train) and len(test) and not torch.isin(train.pair, test.pair).any()
    wide = Task(width=3).sides()[1]
    assert wide.tokens().shape[1] == 7 and torch.equal(wide.result, Task().sides()[1].result)
    fours = partial(arithmetic.by_operand, operands=range(40, 50))
    train, test = Task(split=fours).sides()
    assert not torch.isin(torch.stack([train.a, train.b]), torch.arange(40, 50)).any()
    assert (
        torch.isin(test.a, torch.arange(40, 50)) | torch.isin(test.b, torch.arange(40, 50))
    ).all()
    leaky = Task(split=arithmetic.by_query).sides()
    assert torch.isin(leaky[1].pair, leaky[0].pair).double().mean() > 0.9


def test_queries_drawn_anew_are_those_of_the_training_side_and_have_the_places_of_their_task():
    task = Task(digits=4, width=5, operators="+", units_first=True)
    drawn, test = task.fresh(3000, torch.Generator().manual_seed(5)), task.sides(3000)[1]
    assert (drawn.sign == 1).all() and drawn.a.max() > 9000
    assert not torch.isin(drawn.pair, test.pair).any()
    query, answer = task.pairs(drawn)
    assert query.shape == (3000, 11) and answer.shape == (3000, 6)
    four = replace(LSTM, task=task).with_training(steps=2, batch_size=8)
    assert len(run(four)["history"]) == 1


SUMS = Task(digits=1, operators="+")
SHORT = replace(LSTM, task=SUMS).with_training(steps=8, batch_size=8, log_every=4)


def same(a, b):
    return all(torch.equal(w, b["network"][name]) for name, w in a["network"].items())


def test_training_learns_one_digit_sums_and_gives_the_same_weights_again():
    setting = SHORT.with_training(seed=1, steps=60, batch_size=32, log_every=30)
    first, again = run(setting), run(setting)
    assert same(first, again) and not same(first, run(setting.with_training(seed=2)))
    last = first["history"][-1]
    # knowing how often each symbol stands at each place, and nothing of the query, costs (H(9/20) +
    # ln 10)/2 = 1.5 nats
    assert last["train_loss"] < 1.3 and 0 <= last["exact"] <= last["characters"] <= 1


@dataclass(frozen=True)
class Stand:
    """A key of a few drawn digits."""

    size: tuple[int, int] = (100, 100)

    def load(self):
        return images.load("mnist", self.size)


def few(setting):
    """Two steps of 8, and few held-out queries, so that tests are quick."""
    setting = replace(setting, task=Task(split=partial(arithmetic.held_out, share=0.01)))
    return setting.with_training(steps=2, batch_size=8)


def test_models_of_pictures_train_on_stand_ins_from_the_weights_of_a_model_of_text(data_home):
    text, queries = run(few(LSTM))["network"], all_queries()[slice(0, 40)]
    for make in (
        arithmetic.image_to_text,
        arithmetic.named_text_to_image,
        arithmetic.styled_text_to_image,
        lambda data, start: replace(arithmetic.text_to_image(data), start=start),
    ):
        setting = few(make(Stand(), text))
        result = run(setting)
        network = setting.trained(result)
        kept = torch.equal(network.encoder.weight_hh_l0, text["encoder.weight_hh_l0"])
        assert kept == isinstance(network, NamedSeq2Seq)  # whose LSTMs stay as they are
        if isinstance(setting.variant, ImageToText):
            assert set(result["history"][-1]) == {"step", "train_loss", "exact", "characters"}
        else:
            pictures = draw_answers(network, queries)
            assert pictures.shape == (40, T, 1, 28, 28) and pictures.dtype == torch.uint8
            assert torch.equal(pictures, draw_answers(network, queries))


def test_an_image_model_that_is_told_also_learns_from_what_is_shown(data_home):
    setting = few(arithmetic.image_to_text(Stand()))
    alone = replace(setting, variant=ImageToText(told=False))
    told, untold = (run(s)["history"][-1]["train_loss"] for s in (setting, alone))
    assert told > untold + 1  # two cross-entropies, each of about ln 13 at the start


def test_the_noise_of_the_styles_comes_from_the_seed(data_home):
    setting = few(arithmetic.styled_text_to_image(Stand(), Seq2Seq().state_dict()))
    first = run(setting)
    torch.rand(3)
    assert same(first, run(setting))


def test_a_start_that_fits_nowhere_or_is_missing_where_needed_is_refused(data_home):
    text = Seq2Seq().state_dict()
    half = {name: w for name, w in text.items() if not name.startswith("decoder")}
    for start in ({}, half):
        with pytest.raises(ValueError, match="give start="):
            run(few(arithmetic.named_text_to_image(Stand(), start)))
    with pytest.raises(ValueError, match="little in common"):
        run(few(replace(TRANSFORMER, start=text)))


def test_the_start_symbol_is_none_of_the_thirteen():
    assert len(SYMBOLS) == K == AttentionSeq2Seq().start == Transformer().start
    with pytest.raises(RuntimeError):
        OneHot()(torch.tensor([[K]]))


def test_settings_that_would_be_ignored_are_refused():
    with pytest.raises(ValueError, match="as many places"):
        Task(digits=2, width=1)
    with pytest.raises(ValueError, match="drawn, not listed"):
        Task(digits=4, split=arithmetic.by_query)
    with pytest.raises(ValueError, match="range"):
        arithmetic.by_operand(all_queries(), 0.2)
    with pytest.raises(ValueError, match="side of the split empty"):
        Task(split=partial(arithmetic.by_operand, operands=range(200, 210))).sides()
    with pytest.raises(ValueError, match="give steps"):
        run(replace(LSTM, task=Task(digits=4)))
    with pytest.raises(ValueError, match="no reverse"):
        replace(arithmetic.text_to_image(Stand()), task=Task(reverse=True))
    with pytest.raises(ValueError, match="needs data="):
        ArithmeticRun(TextToImage())
    with pytest.raises(ValueError, match="leave out data"):
        ArithmeticRun(data=Stand())


@pytest.mark.parametrize("steps", range(1, 7))
def test_the_shortest_training_is_possible(steps):
    assert run(SHORT.with_training(steps=steps))["history"][-1]["step"] == steps


def test_an_epoch_is_as_many_steps_as_it_has_batches():
    history = run(SHORT.with_training(steps=None, epochs=0.5, batch_size=8, log_every=1))["history"]
    assert len(history) == round(0.5 * len(SUMS.sides()[0]) / 8)


@dataclass(frozen=True)
class Probed(TextToText):
    """Text whose probe is looked at, and whose loss can be scaled."""

    seen: Any = None
    scale: float = 1.0

    def score(self, network, pairs):
        self.seen.append(pairs)
        return {}

    def loss(self, *arguments):
        return self.scale * super().loss(*arguments)


def test_the_probe_of_the_curve_has_sums_and_differences():
    for share in (0.2, 0.5):
        task, variant = Task(split=partial(arithmetic.held_out, share=share)), Probed(seen=[])
        sides = (task.pairs(side) for side in task.sides())
        train_seq2seq(Seq2Seq(), variant, *sides, Seq2SeqSettings(steps=1))
        operators = variant.seen[0].query[:, 2]
        assert 0.4 < (operators == SYMBOLS.index("+")).double().mean() < 0.6
        assert len(operators) > 500


def test_no_gradient_that_the_optimizer_sees_is_longer_than_one():
    train, test = (SUMS.pairs(side) for side in SUMS.sides())
    lengths = []

    def measure(optimizer, *arguments):
        gradients = [p.grad.flatten() for p in optimizer.param_groups[0]["params"]]
        lengths.append(torch.cat(gradients).norm().item())

    hook = register_optimizer_step_pre_hook(measure)
    try:
        settings = Seq2SeqSettings(steps=3, batch_size=8)
        train_seq2seq(Seq2Seq(2), Probed(seen=[], scale=1e3), train, test, settings)
    finally:
        hook.remove()
    assert lengths == pytest.approx([1, 1, 1], rel=1e-3)


@pytest.mark.parametrize(
    "setting",
    [
        SHORT,
        replace(
            ATTENTION, task=Task(digits=4, operators="+", units_first=True), training=SHORT.training
        ),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, setting):
    whole, calls, loss = run(setting), [], TextToText.loss

    def interrupt_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return loss(*arguments)

    monkeypatch.setattr(TextToText, "loss", interrupt_the_third)
    with pytest.raises(KeyboardInterrupt, match="step 3 of 8"):
        run(setting, tmp_path / "run.pt")
    resumed = run(setting, tmp_path / "run.pt")
    assert len(calls) == 8 and resumed["history"] == whole["history"] and same(resumed, whole)


def test_a_checkpoint_that_began_elsewhere_or_of_other_data_is_not_taken_up(tmp_path, monkeypatch):
    starts = [run(SHORT.with_training(seed=seed))["network"] for seed in (1, 2)]
    settings = [replace(SHORT, start=start) for start in starts]
    settings.append(replace(settings[1], task=replace(SUMS, reverse=True)))
    loss = TextToText.loss
    for begun, other in zip(settings, settings[1:], strict=False):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt = lambda *rest: signal.raise_signal(signal.SIGINT) or loss(*rest)  # noqa: E731
            patch.setattr(TextToText, "loss", interrupt)
            run(begun, tmp_path / "run.pt")
        assert same(run(other, tmp_path / "run.pt"), run(other))


def test_pairs_are_what_the_trainer_reads():
    pairs = Task().pairs(all_queries())
    assert isinstance(pairs, Pairs) and pairs.query.shape == (20_000, 5)
    assert pairs.answer.shape == (20_000, 3)
