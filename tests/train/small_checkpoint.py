"""A checkpoint of random weights, small enough for tests of what comes after training."""

import torch

from config import Config
from model import TextModel, VisionModel


def small_checkpoint(tokenizer):
    """Two layers in each half; norms and biases are not those of a fresh model, to be noticed."""
    torch.manual_seed(7)
    config = Config(vocab=len(tokenizer.tokens), layers=2, vision_layers=2)
    halves = {'text': TextModel(config), 'vision': VisionModel(config)}
    with torch.no_grad():
        for half in halves.values():
            for parameter in half.parameters():
                if parameter.dim() == 1:
                    parameter += 0.2 * torch.randn_like(parameter)
        halves['text'].embedding *= 2
    states = {name: half.state_dict() for name, half in halves.items()}
    return {**states, 'config': config.to_dict(), 'step': 0}
