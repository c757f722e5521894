"""Table and picture of what compress_curves measured."""

import json
import math
import os
import statistics

KEY = ('model', 'method', 'ratio', 'seed', 'settings')  # of a point
# 97.5 % quantiles of Student's t by degrees of freedom; more than ten are taken as ten
T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
COLOURS = {'magnitude': '#999999', 'wanda': '#e69f00', 'depth': '#cc79a7', 'cut': '#56b4e9',
           'closed': '#0072b2', 'local': '#009e73', 'lora': '#d55e00', 'full': '#000000'}
# figure -> (heading, whether the axis is logarithmic)
CURVES = {'kl': ('KL divergence, nats per token', True),
          'ppl_ratio': ('perplexity, times the original', True),
          'same_top1': ('same likeliest token', False),
          'task_text': ('right answers, text', False),
          'task_panel': ('right answers, panels', False),
          'prompt_ratio': ('prompt speed, times the original', False),
          'decode_ratio': ('decoding speed, times the original', False),
          'cpu_auc_pct_s_ratio': ('CPU area under the curve, times the original', False),
          'ram_auc_mib_s_ratio': ('RAM area under the curve, times the original', False),
          'energy_net_j_ratio': ('net energy (estimated), times the original', False)}


def read_lines(path):
    """The objects of a file of JSON lines; a line that a kill cut off does not count."""
    if not os.path.exists(path):
        return []
    lines = []
    with open(path, encoding='utf-8') as file:
        for line in file:
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return lines


def has(line, key):
    """Whether a line is of this key."""
    return all(line.get(name) == value for name, value in key.items())


def mean_and_half(values):
    """Mean, and half the width of its 95 % interval (None of one value)."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, None
    quantile = T975[min(len(values) - 1, len(T975)) - 1]
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


# ---- groups: the seeds of one way of cutting ----


def groups(folder):
    """[{model, method, ratio, n, figure: (mean, half)}], sorted. A point that was measured twice
    counts as the last time, and of each method only points with the settings of its last."""
    latest, settings = {}, {}
    for line in read_lines(os.path.join(folder, 'points.jsonl')):
        if 'error' not in line:
            settings[line['model'], line['method']] = line['settings']
            latest[json.dumps([line[k] for k in KEY])] = line
    speeds = {(line['model'], line['shapes']): line
              for line in read_lines(os.path.join(folder, 'speeds.jsonl'))}
    seeds = {}
    for line in latest.values():
        if line['settings'] == settings[line['model'], line['method']]:
            speed = speeds.get((line['model'], line.get('shapes')), {})
            line = dict(line, **{k: v for k, v in speed.items() if k not in line})
            seeds.setdefault((line['model'], line['method'], line['ratio']), []).append(line)
    return [dict(_summary(lines), model=model, method=method, ratio=ratio)
            for (model, method, ratio), lines in sorted(seeds.items())]


def _summary(lines):
    figures = {name for line in lines for name, value in line.items()
               if isinstance(value, (int, float)) and name not in ('ratio', 'seed')}
    told = {'n': len(lines)}
    for name in figures:
        told[name] = mean_and_half([line[name] for line in lines if line.get(name) is not None])
    return told


# ---- the table ----


def _cell(group, name, form, scale=1.0):
    if name not in group:
        return ''
    mean, half = group[name]
    told = form.format(mean * scale)
    return told + ' ± ' + form.format(half * scale) if half else told


COLUMNS = (('cut %', 'share_removed', '{:.1f}', 100), ('KL', 'kl', '{:.4f}', 1),
           ('KL, wattlaw\'s text', 'wattlaw_kl', '{:.4f}', 1),
           ('perplexity x', 'ppl_ratio', '{:.3f}', 1), ('same token %', 'same_top1', '{:.1f}', 100),
           ('text right %', 'task_text', '{:.1f}', 100),
           ('panel right %', 'task_panel', '{:.1f}', 100),
           ('MB', 'file_bytes', '{:.2f}', 1e-6), ('prompt x', 'prompt_ratio', '{:.2f}', 1),
           ('decode x', 'decode_ratio', '{:.2f}', 1),
           ('CPU AUC x', 'cpu_auc_pct_s_ratio', '{:.2f}', 1),
           ('RAM AUC x', 'ram_auc_mib_s_ratio', '{:.2f}', 1),
           ('net energy x', 'energy_net_j_ratio', '{:.2f}', 1), ('RSS MB', 'rss_bytes', '{:.1f}', 1e-6))


def table(all_groups):
    """Markdown: a table for each model, of means over seeds and their 95 % intervals."""
    parts = []
    for model in sorted({group['model'] for group in all_groups}):
        rows = [group for group in all_groups if group['model'] == model]
        columns = [c for c in COLUMNS if any(c[1] in row for row in rows)]
        parts.append(f'## {model}\n')
        parts.append('| method | asked % | seeds | ' + ' | '.join(c[0] for c in columns) + ' |')
        parts.append('|---' * (3 + len(columns)) + '|')
        for row in sorted(rows, key=lambda r: (r['ratio'], list(COLOURS).index(r['method'])
                                               if r['method'] in COLOURS else -1)):
            cells = [_cell(row, *column[1:]) for column in columns]
            parts.append(f"| {row['method']} | {100 * row['ratio']:.0f} | {row['n']} | "
                         + ' | '.join(cells) + ' |')
        parts.append('')
    return '\n'.join(parts)


# ---- the picture ----

WIDTH, HEIGHT, LEFT, TOP, GAP, ACROSS = 300, 200, 62, 46, 80, 4


def _round_step(span):
    """A step of 1, 2 or 5 times a power of ten that fits about four times into the span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= span / 4)


class _Axis:
    """From values to places; in powers of ten where it is logarithmic."""

    def __init__(self, values, is_log, size, flip):
        self.is_log, self.size, self.flip = is_log, size, flip
        values = [math.log10(v) for v in values if v > 0] if is_log else list(values)
        low, high = min(values, default=0), max(values, default=1)
        self.step = 1 if is_log else _round_step(max(high - low, 1e-3))
        self.low = math.floor(low / self.step) * self.step
        self.high = max(math.ceil(high / self.step) * self.step, self.low + self.step)

    def at(self, value):
        """The place of a value; what lies outside is at the edge."""
        if self.is_log:
            value = math.log10(value) if value > 0 else self.low
        share = min(1, max(0, (value - self.low) / (self.high - self.low)))
        return self.size * (1 - share) if self.flip else self.size * share

    def ticks(self):
        """Values to write beside the axis."""
        n = round((self.high - self.low) / self.step)
        values = [self.low + i * self.step for i in range(0, n + 1, n // 6 + 1)]
        return [10.0 ** value for value in values] if self.is_log else values


def _panel(rows, figure, x, y):
    """One diagram: a figure against the share removed, a line for each method."""
    heading, is_log = CURVES[figure]
    rows = [row for row in rows if figure in row and 'share_removed' in row]
    across = _Axis([0] + [row['share_removed'][0] for row in rows], False, WIDTH, False)
    up = _Axis([row[figure][0] for row in rows], is_log, HEIGHT, True)
    parts = [f'<g transform="translate({x},{y})"><rect width="{WIDTH}" height="{HEIGHT}" '
             'fill="none" stroke="#bbb"/>',
             f'<text x="0" y="-8" font-weight="bold">{rows[0]["model"]}: {heading}</text>']
    for tick in up.ticks():
        parts.append(f'<text x="-6" y="{up.at(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for tick in across.ticks():
        parts.append(f'<text x="{across.at(tick):.1f}" y="{HEIGHT + 16}" text-anchor="middle">'
                     f'{100 * tick:.0f} %</text>')
    for method, colour in COLOURS.items():
        line = sorted((r for r in rows if r['method'] == method), key=lambda r: r['share_removed'])
        places = [(across.at(r['share_removed'][0]), up.at(r[figure][0])) for r in line]
        if not places:
            continue
        path = ' '.join(f'{a:.1f},{b:.1f}' for a, b in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (a, b), row in zip(places, line):
            mean, half = row[figure]
            parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>')
            if half:
                parts.append(f'<path d="M{a:.1f} {up.at(mean - half):.1f}V{up.at(mean + half):.1f}"'
                             f' stroke="{colour}"/>')
    return parts + ['</g>']


def _legend(methods):
    return [f'<text x="{LEFT + 90 * i}" y="18" fill="{COLOURS[method]}" font-weight="bold">{method}</text>'
            for i, method in enumerate(methods)]


def picture(all_groups):
    """SVG: the diagrams of each model, ACROSS in a row."""
    measured = {group['method'] for group in all_groups}
    parts, line = _legend([method for method in COLOURS if method in measured]), 0
    for model in sorted({group['model'] for group in all_groups}):
        rows = [g for g in all_groups if g['model'] == model and g['method'] in COLOURS]
        figures = [f for f in CURVES if any(f in row for row in rows)]
        for place, figure in enumerate(figures):
            parts += _panel(rows, figure, LEFT + place % ACROSS * (WIDTH + GAP),
                            TOP + (line + place // ACROSS) * (HEIGHT + GAP))
        line += -(-len(figures) // ACROSS)
    width, height = LEFT + ACROSS * (WIDTH + GAP), TOP + line * (HEIGHT + GAP)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="12">'
            f'<rect width="{width}" height="{height}" fill="white"/>' + ''.join(parts) + '</svg>\n')


def write(folder):
    """table.md and curves.svg."""
    all_groups = groups(folder)
    if not all_groups:
        raise SystemExit(f'{folder}: nothing measured yet')
    for name, text in (('table.md', table(all_groups)), ('curves.svg', picture(all_groups))):
        path = os.path.join(folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        print(path)
