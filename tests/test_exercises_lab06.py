"""The solutions of lab 06 agree with what others have written for the same thing."""

import torch
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.preprocessing import OneHotEncoder

from labkit.exercises import lab06
from labkit.models.gan import ConditionalGenerator, ProjectionDiscriminator
from labkit.studies.conditional import search_codes


def test_one_hot_rows_are_scikit_learn_s():
    x, y = torch.randn(20, 3), torch.arange(20) % 7
    expected = OneHotEncoder(sparse_output=False).fit_transform(y[:, None].numpy())
    found = lab06.with_one_hot.reference(x, y, 7)
    assert torch.equal(found[:, :3], x)
    assert torch.equal(found[:, 3:], torch.from_numpy(expected).float())


def test_variety_is_scipy_s_mean_distance():
    asked, features = torch.tensor([4, 1, 4, 1, 4]), torch.randn(5, 6)
    p = torch.eye(5)[torch.tensor([4, 1, 0, 0, 4])]
    hits, variety = lab06.ask_scores.reference(p, asked, features)
    means = [pdist(features[asked == k].numpy()).mean() for k in (1, 4)]
    assert abs(hits - 0.6) < 1e-6 and abs(variety - sum(means) / 2) < 1e-5


def test_projection_is_that_of_the_kit_s_discriminator():
    network, x, y = ProjectionDiscriminator(4), torch.randn(6, 1, 28, 28), torch.arange(6)
    torch.nn.init.normal_(network.v.weight)
    found = lab06.projection_logit.reference(network.phi(x), y, network.psi, network.v)
    assert torch.allclose(found, network(x, y), atol=1e-6)


def test_at_its_ends_a_mixed_label_is_a_label():
    model, z = ConditionalGenerator(5, 2).eval(), torch.randn(3, 5)
    for share, y in ((0.0, 3), (1.0, 8)):
        found = lab06.mixed_label.reference(model.network, z, 3, 8, share)
        assert torch.allclose(found, model(z, torch.full((3,), y)), atol=1e-6)


def test_search_is_the_study_s():
    generator, classifier, z, target, steps, lr = lab06.search_code.probes[1](torch.Generator())
    found = lab06.search_code.reference(generator, classifier, z, target, steps, lr)
    expected = search_codes(generator, classifier, z, target, steps, lr)
    assert torch.allclose(found, expected, atol=1e-5)


def test_principal_plane_is_scikit_learn_s():
    x = torch.randn(50, 4) * torch.tensor([1.0, 5.0, 2.0, 0.5]) + 3
    positions, shares = lab06.principal_plane.reference(x)
    pca = PCA(2).fit(x.numpy())
    expected = torch.from_numpy(pca.transform(x.numpy()))
    assert torch.allclose(positions.abs(), expected.abs(), atol=1e-3)
    assert torch.allclose(shares, torch.from_numpy(pca.explained_variance_ratio_), atol=1e-4)
