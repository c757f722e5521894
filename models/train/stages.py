"""What the three training stages do in one step; the loop around them is train.py.

A stage has `unit` and `scale` (of --until), `rate` (peak learning rate), its parameters, and
    step(rng, progress) -> (loss, amount done, {figure: (sum, n)})
where rng is a random.Random of this very step: a resumed run draws what an unbroken one would.
"""

import os
import random

import torch
from torch.nn import functional

import batches
import panel
import pictures
from config import Config
from model import TextModel, VisionModel, positions
from tokenizer import Tokenizer

TOKEN_BUDGET = 4096          # of a step of the text half
SKETCH_SHARE = 0.5           # of the steps of the text half
SKETCH_TURNS = 6             # questions about one sketched image
SKETCH_SMALL = 0.7           # of the sketches: of few cells, which cost less and teach the same
# How often each kind is asked: those that must match a word with a cell are learnt last.
ASKED_KINDS = panel.KINDS + ('colour', 'which') + ('number', 'serial', 'lights') * 2
# Of the sketches: small ones that are asked for the number alone. A digit whose place must be
# counted from the mark before the number is found only when many numbers come at once.
SKETCH_NUMBERS = 0.2
SKETCH_NOISE = 0.3           # sd, in units of the feature vectors' own
SKETCH_LOST = 0.1            # of the features of a cell
BLOCKS_LEARNT = 0.85         # of the repeated tokens right: then the tasks begin
PIXEL_BUDGET_PATCHES = 4608  # 8 of the largest pictures
JOIN_BUDGET_PATCHES = 4608
JOIN_TURNS = 6
JOIN_TEXT_SHARE = 0.5        # of the steps: text tasks, so that nothing is forgotten
CELL_LOSS_WEIGHT = 0.1
GROUND_WEIGHT = 0.3          # of a cell that shows nothing but the ground or a strip
SERIAL_WEIGHT = 3.0          # of a cell with small digits: there are few, and they are learnt last


def new_config():
    """The built-in model's dimensions with its vocabulary."""
    return Config(vocab=len(Tokenizer.load()))


def normalised(pixels, config):
    """uint8 [B, H, W, 3] -> f32 [B, 3, H, W] as libmtmd gives them to the encoder."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(config.image_mean).view(3, 1, 1)
    std = torch.tensor(config.image_std).view(3, 1, 1)
    return (values - mean) / std


# The groups of features that are judged together in the figures.
FEATURE_GROUPS = {
    group: [i for i, name in enumerate(panel.FEATURES) if name.startswith(start)]
    for group, start in (('number', 'number digit'), ('serial', 'serial digit'),
                         ('light', 'light '), ('dial', 'dial '))}
FEATURE_GROUPS['shape'] = [i for i, name in enumerate(panel.FEATURES)
                           if name.split()[-1] in panel.SHAPES]
PLAIN = [i for i, name in enumerate(panel.FEATURES) if name.startswith(('ground', 'strip'))]


def feature_loss(logits, targets):
    """Mean over cells of the summed binary cross-entropies; plain cells count less.

    Also, by group of features, the share of the cells that have one in which the likeliest
    feature of the group is among the true ones.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    per_cell = losses.sum(-1)
    is_plain = targets[..., PLAIN].sum(-1) == targets.sum(-1)
    has_serial = targets[..., FEATURE_GROUPS['serial']].sum(-1) > 0
    weight = torch.where(is_plain, GROUND_WEIGHT, 1.0)
    weight = torch.where(has_serial, SERIAL_WEIGHT, weight)
    figures = {}
    for group, ids in FEATURE_GROUPS.items():
        has_one = targets[..., ids].sum(-1) > 0
        best = logits[..., ids].argmax(-1, keepdim=True)
        hit = targets[..., ids].gather(-1, best)[..., 0][has_one]
        figures[group] = (float(hit.sum()), int(has_one.sum()))
    return (per_cell * weight).sum() / weight.sum(), figures


def words_of_feature(name):
    """The tokens that name a feature's fact, as they stand in the answers (see panel.py)."""
    first, *rest = name.split()
    if first in panel.COLOURS:
        return [' ' + first, ' ' + rest[0]]
    if first in ('number', 'serial'):  # "number digit 2 is 7"
        return [' ' + first, ' ' + panel.ORDINALS[int(rest[1]) - 1], rest[3]]
    if first == 'light':
        state = [' on'] if rest[1] == 'on' else []
        return [' light', ' ' + panel.ORDINALS[int(rest[0]) - 1]] + state
    return {'shape': [' shapes'] + rest, 'strip': [], 'dial': [' dial', ' ' + rest[0]],
            'ground': [' panel', ' ' + rest[0]]}[first] if rest else []


def feature_words(tokenizer):
    """f32 [features, vocab]: 1 where a token names the feature's fact."""
    named = torch.zeros(len(panel.FEATURES), len(tokenizer))
    for number, name in enumerate(panel.FEATURES):
        for word in words_of_feature(name):
            (token,) = tokenizer.encode(word)
            named[number, token] = 1
    return named


def answer_loss(text, x, pos, ids, weight):
    """Weighted mean cross-entropy of ids from the tokens before them, and which were right.

    x f32 [B, N, width] embeds ids [B, N]; weight [B, N] is 0 where nothing is to be learnt, so
    only the other places are computed. right is bool [B, N], true where the weight is 0.
    """
    rows, columns = weight.nonzero(as_tuple=True)
    hidden = text.hidden(x, pos)[rows, columns - 1]
    logits = text.logits(hidden)
    wanted = ids[rows, columns]
    losses = functional.cross_entropy(logits, wanted, reduction='none')
    weights = weight[rows, columns]
    right = torch.ones(ids.shape, dtype=torch.bool)
    right[rows, columns] = logits.detach().argmax(-1) == wanted
    return (losses * weights).sum() / weights.sum(), right


def image_answer_loss(text, batch, cells):
    """answer_loss of an ImageBatch whose cells are embedded as f32 [B, cells, width]."""
    ids, weight = torch.from_numpy(batch.ids), torch.from_numpy(batch.weight)
    first, n_cells = batch.n_before, batch.n_cells
    x = torch.cat((text.embed(ids[:, :first]), cells, text.embed(ids[:, first + n_cells:])), 1)
    pos = positions(first, batch.grid_h, batch.grid_w, ids.shape[1] - first - n_cells)
    return answer_loss(text, x, pos, ids, weight)


def span_figures(right, spans):
    """Share of whole right answers by kind."""
    figures = {}
    for row, start, end, kind in spans:
        total, n = figures.get(kind, (0, 0))
        figures[kind] = (total + int(right[row, start:end].all()), n + 1)
    return figures


class TextStage:
    """The text half: repeated random blocks until look-back has formed, then tasks and sketches."""

    unit, scale, rate = 'tokens', 1e6, 1.5e-3

    def __init__(self, _folder):
        self.tokenizer = Tokenizer.load()
        self.config = new_config()
        self.text = TextModel(self.config)
        # The vectors of the panel's features, what the image encoder must later put out: the sum
        # of the embeddings of the words that name the fact, and a learnt rest. With the words in
        # it a cell is matched and copied by what the look-up tasks have taught already.
        self.features = torch.nn.Parameter(
            torch.randn(len(panel.FEATURES), self.config.width) * 0.05)
        self.feature_words = feature_words(self.tokenizer)
        self.blocks_right = 0.0  # running share in the first phase; 1 once it is over
        self.batcher = None

    def named_parameters(self):
        yield from self.text.named_parameters()
        yield 'features', self.features

    def parameters(self):
        return [parameter for _, parameter in self.named_parameters()]

    def state(self):
        return {'config': self.config.to_dict(), 'text': self.text.state_dict(),
                'features': self.features.data, 'blocks_right': self.blocks_right}

    def load(self, state):
        self.text.load_state_dict(state['text'])
        self.features.data.copy_(state['features'])
        self.blocks_right = state['blocks_right']

    def begin(self, rng):
        if self.batcher is None:  # waiting rows are not kept: a resumed run draws other ones
            self.batcher = batches.Batcher(self.tokenizer, rng.random(), TOKEN_BUDGET)

    def step(self, rng, progress):
        self.begin(rng)
        if self.blocks_right < BLOCKS_LEARNT:
            return self.blocks_step()
        return self.sketch_step(rng) if rng.random() < SKETCH_SHARE else self.tasks_step(progress)

    def tasks_step(self, progress):
        """Questions about texts."""
        batch = self.batcher.next(progress)
        loss, right = self.text_loss(batch)
        figures = span_figures(right, batch.spans)
        figures['loss text'] = (float(loss.detach()), 1)
        return loss, batch.n_tokens, figures

    def text_loss(self, batch):
        ids, weight = torch.from_numpy(batch.ids), torch.from_numpy(batch.weight)
        return answer_loss(self.text, self.text.embed(ids), positions(0, 0, 0, ids.shape[1]),
                           ids, weight)

    def blocks_step(self):
        """Only repeated blocks: the look-back and matching heads form here, or never."""
        self.batcher.mix = {'ind': 1.0}
        batch = self.batcher.next(0.0)
        loss, right = self.text_loss(batch)
        asked = torch.from_numpy(batch.weight) > 0
        share = float(right[asked].float().mean())
        self.blocks_right += 0.05 * (share - self.blocks_right)
        if self.blocks_right >= BLOCKS_LEARNT:
            self.blocks_right = 1.0
            self.batcher = None
        return loss, batch.n_tokens, {'ind': (share, 1), 'loss': (float(loss.detach()), 1)}

    def sketch_step(self, rng):
        """Questions about panels whose cells are given as sums of feature vectors, with noise."""
        is_small = rng.random() < SKETCH_SMALL
        kinds, n_turns = ASKED_KINDS, SKETCH_TURNS
        if rng.random() < SKETCH_NUMBERS:
            is_small, kinds, n_turns = True, ('number',), 1
        width, height = pictures.random_size(rng, 0.0 if is_small else 1.0)
        grid_w, grid_h = width // self.config.cell, height // self.config.cell
        row_tokens = grid_w * grid_h + 22 * n_turns
        panels = [panel.random_panel(rng) for _ in range(max(1, TOKEN_BUDGET // row_tokens))]
        batch = batches.image_rows(self.tokenizer, panels, grid_h, grid_w, rng, n_turns,
                                   strip_share=0.3, kinds=kinds)
        loss, right = image_answer_loss(self.text, batch,
                                        self.sketch(torch.from_numpy(batch.features)))
        figures = span_figures(right, batch.spans)
        figures['loss image'] = (float(loss.detach()), 1)
        return loss, batch.n_tokens, figures

    def vectors(self):
        """The features' vectors, f32 [features, width]."""
        return self.features + self.feature_words @ self.text.embedding

    def sketch(self, features):
        """Feature ids [B, cells, most] (-1: none) -> f32 [B, cells, width], as an encoder might."""
        kept = (features >= 0) & (torch.rand(features.shape) > SKETCH_LOST)
        vectors = self.vectors()
        total = (functional.embedding(features.clamp(min=0), vectors) * kept[..., None]).sum(2)
        noise = SKETCH_NOISE * float(vectors.detach().std())
        return total + noise * torch.randn(total.shape)


class VisionStage:
    """The image encoder alone: a head, thrown away later, reads which features each cell shows."""

    unit, scale, rate = 'images', 1e3, 1.2e-3

    def __init__(self, _folder):
        self.config = new_config()
        self.vision = VisionModel(self.config)
        self.head = torch.nn.Linear(self.config.width, len(panel.FEATURES))
        torch.nn.init.constant_(self.head.bias, -3.0)  # features are rare

    def named_parameters(self):
        yield from self.vision.named_parameters()
        yield from self.head.named_parameters()

    def parameters(self):
        return [parameter for _, parameter in self.named_parameters()]

    def state(self):
        return {'config': self.config.to_dict(), 'vision': self.vision.state_dict(),
                'head': self.head.state_dict()}

    def load(self, state):
        self.vision.load_state_dict(state['vision'])
        self.head.load_state_dict(state['head'])

    def step(self, rng, progress):
        pixels, targets, _ = pictures.batch(rng, progress, PIXEL_BUDGET_PATCHES)
        cells = self.vision(normalised(pixels, self.config))
        logits = self.head(cells)
        loss, figures = feature_loss(logits, torch.from_numpy(targets).float())
        figures['loss'] = (float(loss.detach()), 1)
        return loss, len(pixels), figures


class JoinStage:
    """Both halves end to end: pictures and text, with the cells' features kept."""

    unit, scale, rate = 'images', 1e3, 6e-4

    def __init__(self, folder):
        self.folder = folder
        self.halves = TextStage(folder), VisionStage(folder)
        self.config = self.halves[0].config
        self.text, self.vision = self.halves[0].text, self.halves[1].vision
        # The encoder's own last matrix, kept beside the fitted one: what the head reads.
        self.probe = torch.nn.Linear(self.vision.merger_out.shape[1], self.config.width)
        self.is_fitted = False

    def named_parameters(self):
        for half in self.halves:
            yield from half.named_parameters()
        yield from self.probe.named_parameters()

    def parameters(self):
        return [parameter for _, parameter in self.named_parameters()]

    def state(self):
        text, vision = (half.state() for half in self.halves)
        return dict(text, **vision, probe=self.probe.state_dict())

    def load(self, state):
        for half in self.halves:
            half.load(state)
        self.probe.load_state_dict(state['probe'])
        self.is_fitted = True

    def start(self):
        """Take both halves from their checkpoints and fit the matrix between them."""
        for half, name in zip(self.halves, ('text', 'vision')):
            half.load(torch.load(os.path.join(self.folder, name + '.pt'), map_location='cpu'))
        with torch.no_grad():
            self.probe.weight.copy_(self.vision.merger_out)
            self.probe.bias.copy_(self.vision.merger_out_bias)
            weight, bias, error = fit_projection(self.vision, self.halves[0].vectors(), self.config)
            self.vision.merger_out.copy_(weight)
            self.vision.merger_out_bias.copy_(bias)
        print(f'join: the encoder gives {100 * (1 - error):.1f} % of the variance of the feature '
              'vectors', flush=True)
        self.is_fitted = True

    def step(self, rng, progress):
        if not self.is_fitted:
            self.start()
        if rng.random() < JOIN_TEXT_SHARE:  # pictures take the place of the sketches
            self.halves[0].begin(rng)
            loss, _, figures = self.halves[0].tasks_step(1.0)
            return loss, 0, figures
        pixels, targets, panels = pictures.batch(rng, 1.0, JOIN_BUDGET_PATCHES)
        merged = self.vision.merged(normalised(pixels, self.config))
        logits = self.halves[1].head(self.probe(merged.float()))
        cell_loss, figures = feature_loss(logits, torch.from_numpy(targets).float())
        loss, told = self.picture_loss(rng, self.vision.project(merged), panels, pixels.shape)
        figures = dict(told, **{'loss cells': (float(cell_loss.detach()), 1)})
        return loss + CELL_LOSS_WEIGHT * cell_loss, len(pixels), figures

    def picture_loss(self, rng, cells, panels, shape):
        """Loss of the answers about pictures that the encoder saw as `cells`."""
        grid_h, grid_w = shape[1] // self.config.cell, shape[2] // self.config.cell
        batch = batches.image_rows(self.halves[0].tokenizer, panels, grid_h, grid_w, rng,
                                   JOIN_TURNS, kinds=ASKED_KINDS)
        loss, right = image_answer_loss(self.text, batch, cells)
        figures = span_figures(right, batch.spans)
        figures['loss'] = (float(loss.detach()), 1)
        return loss, figures


def fit_projection(vision, features, config, n_batches=40):
    """Least squares from the merger's inner state to the sums of the cells' feature vectors.

    Returns (weight, bias, share of the variance that is left), with a small ridge.
    """
    size = vision.merger_out.shape[1] + 1
    gram, cross = torch.zeros(size, size, dtype=torch.float64), None
    total, count = 0.0, 0
    for number in range(n_batches):
        rng = random.Random(f'fit {number}')
        pixels, targets, _ = pictures.batch(rng, 1.0, PIXEL_BUDGET_PATCHES)
        state = vision.merged(normalised(pixels, config)).double().flatten(0, 1)
        state = torch.cat((state, torch.ones(len(state), 1, dtype=torch.float64)), 1)
        wanted = (torch.from_numpy(targets).float() @ features).double().flatten(0, 1)
        gram += state.t() @ state
        cross = state.t() @ wanted + (0 if cross is None else cross)
        total += float(((wanted - wanted.mean(0)) ** 2).sum())
        count += len(state)
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    solution = torch.linalg.solve(gram + ridge, cross)
    explained = float((solution * (2 * cross - gram @ solution)).sum())
    mean_square = float((cross[-1] / count).square().sum()) * count
    left = 1 - (explained - mean_square) / total
    return solution[:-1].t().float(), solution[-1].float(), left


STAGES = {'text': TextStage, 'vision': VisionStage, 'join': JoinStage}
