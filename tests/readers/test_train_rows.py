"""The row network learns from strips, and its pretrained model is small."""

import itertools

import torch

from numerals.article.data import load_mnist
from numerals.handwriting.glyphs import prepare_glyphs
from numerals.handwriting.rows import synthesise_row
from numerals.read import model_files
from numerals.readers.row_network import RowNetwork
from numerals.readers.train_rows import ctc_loss, greedy_decode, stack_strips


def test_a_network_overfits_one_strip() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    (images, labels), _ = load_mnist()
    glyphs = prepare_glyphs(images[:300], labels[:300])
    rows = (synthesise_row(glyphs, 2, index) for index in itertools.count())
    strip, digits = next((strip, digits) for strip, digits in rows if len(digits) == 3)
    network = RowNetwork((8, 8, 16, 16, 32), 0.0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        loss = ctc_loss(network(stack_strips([strip, strip])), [digits, digits])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert greedy_decode(network(stack_strips([strip, strip])))[0] == digits


def test_the_pretrained_model_is_small() -> None:
    assert model_files.shipped_path(model_files.ROW_MODEL).stat().st_size < 1_500_000
