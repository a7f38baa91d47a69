"""Lab 05's references against what the library, or PyTorch, has for the same thing."""

import re

import pytest
import torch
import torch.nn.functional as F

from labkit.data import arithmetic
from labkit.exercises import lab05
from labkit.exercises.core import RIGHT, WRONG
from labkit.metrics import answers
from labkit.models import seq2seq


@pytest.mark.parametrize(
    "text, digits", [("3-12", 2), ("85+67", 2), ("7-430", 3), ("0-0", 1), ("99-9", 4)]
)
def test_a_query_is_written_as_the_library_writes_it(text, digits):
    asked = arithmetic.parse(text, digits)
    operator = "+" if asked.sign > 0 else "-"
    query, answer = lab05.encode_query.reference(asked.a.item(), operator, asked.b.item(), digits)
    assert torch.equal(query, asked.tokens()[0]) and torch.equal(answer, asked.answers()[0])


def test_the_library_splits_pairs_as_the_exercise_demands():
    def held_out(a, b):
        return arithmetic.held_out(arithmetic.Queries(a, b, torch.ones_like(a)))

    def in_a_table(a, b):
        every = torch.cartesian_prod(torch.arange(100), torch.arange(100)).unbind(1)
        return held_out(*every).view(100, 100)[a, b]

    assert lab05.held_out_pairs.diagnose(in_a_table).state == RIGHT
    # given a part of the queries, the library's function splits anew
    assert lab05.held_out_pairs.diagnose(held_out).mistakes == ("by_pairs_that_are_there",)


def test_another_share_is_told_in_percent():
    def symmetrised(a, b):
        coins = torch.rand(100, 100, generator=torch.Generator().manual_seed(8))
        return ((coins + coins.T) / 2 < 0.2)[a, b]

    verdict = lab05.held_out_pairs.diagnose(symmetrised)
    assert re.search("the share held out should be about a fifth and is [789]%", verdict.text)


def test_a_split_by_query_is_told_from_one_by_ordered_pair():
    def by_query(a, b):
        return torch.rand(len(a), generator=torch.Generator().manual_seed(3)) < 0.2

    def by_ordered_pair(a, b):
        return torch.rand(10_000, generator=torch.Generator().manual_seed(3))[a + 100 * b] < 0.2

    assert lab05.held_out_pairs.diagnose(by_query).mistakes == ("a_coin_a_row",)
    assert lab05.held_out_pairs.diagnose(by_ordered_pair).mistakes == ("pair=as_it_stands",)


def test_attention_is_that_of_pytorch():
    q, k, v = torch.randn(3, 4, 6), torch.randn(3, 5, 6), torch.randn(3, 5, 2)
    mask = torch.arange(5) < torch.tensor([[2], [5], [1]])
    context, weights = lab05.attention.reference(q, k, v, mask)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
    assert torch.allclose(context, expected, atol=1e-5)
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()
    everywhere = torch.ones(3, 5, dtype=torch.bool)
    ours, theirs = lab05.attention.reference(q, k, v, everywhere), seq2seq.attention(q, k, v)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def test_what_greedy_decoding_wrote_is_a_fixed_point_of_teacher_forcing():
    torch.manual_seed(0)
    model = seq2seq.AttentionSeq2Seq(answer_length=4, hidden_dim=16)
    query = torch.randint(13, (5, 7))
    memory, state = model.encode(query)

    def decode(before, state):
        h, state = model.decoder(model.embed_answer(before), state)
        context, _ = seq2seq.attention(h, model.to_k(memory), memory)
        combined = torch.tanh(model.combine(torch.cat([context, h], dim=-1)))
        return model.output(combined), state

    first = torch.full((5, 1), model.start)
    written = lab05.greedy.reference(decode, state, first, 4)
    assert torch.equal(written, model.generate(query).tokens)
    read = lab05.teacher_forcing.reference(written, model.start)
    assert torch.equal(decode(read, state)[0].argmax(-1), written)


def test_exact_match_is_that_of_the_metrics():
    said = torch.randint(3, (50, 3), generator=torch.Generator().manual_seed(0))
    right = torch.randint(3, (50, 3), generator=torch.Generator().manual_seed(1))
    assert lab05.exact_match.reference(said, right) == pytest.approx(
        answers.exact_match(said, right)
    )
    assert lab05.exact_match.diagnose(answers.exact_match).state == RIGHT
    assert lab05.exact_match.diagnose(answers.per_character).state == WRONG


def test_a_softmax_too_many_is_at_least_the_loss_that_the_lab_names():
    logits = torch.full((1, 13), -1e4).index_fill(1, torch.tensor([4]), 1e4)
    loss = F.cross_entropy(logits.softmax(1), torch.tensor([4])).item()
    assert loss == pytest.approx(1.6891, abs=1e-4)
