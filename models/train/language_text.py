"""English text for language.py: free packages of the distribution, cleaned, cut in two, as tokens.

    python3 language_text.py                 # downloads, reads, cleans, splits, encodes

`apt-get download` fetches the packages of PACKAGES from the machine's own sources; nothing is
installed. What they hold as running prose is taken paragraph by paragraph: no tables, no code, no
other language, each paragraph once. A document (a page, a book, 64 entries of a dictionary) goes
as a whole into the text to train on or, one of HELD_OUT_OF by its name, into the text held out.
In build/train/language/ this leaves

    train.txt, heldout.txt     documents, each ended by <|endoftext|>
    merges.json                the vocabulary, learnt from train.txt
    train.npy, heldout.npy     the same as token ids, uint16
    sources.csv                what each package gave
"""

import argparse
import collections
import csv
import gzip
import hashlib
import heapq
import html
import json
import os
import re
import subprocess
import sys
import tarfile
import unicodedata
import zlib
from pathlib import Path

import numpy as np

from tokenizer import _PIECES as PIECES
from tokenizer import BYTE_TO_SYMBOL, END_OF_TEXT, SPECIALS, Tokenizer

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "build" / "train" / "language"
EXTRA = HERE.parents[2] / "shared" / "data" / "shakespeare.txt"  # taken too where it is
VOCAB = 4096
HELD_OUT_OF = 64
ENTRIES = 64  # of a dictionary, that make a document
MIN_DOCUMENT = 200  # characters; less is not worth a document of its own

# package -> (how to read it, which of its files, licence of the text)
PACKAGES = {
    "dict-gcide": ("gcide", r"\.dict\.dz$", "GPL"),
    "dict-jargon": ("dictionary", r"\.dict\.dz$", "public domain"),
    "dict-foldoc": ("dictionary", r"\.dict\.dz$", "GFDL-1.1+"),
    "dict-devil": ("dictionary", r"\.dict\.dz$", "public domain"),
    "wordnet-base": ("glosses", r"/data\.(noun|verb|adj|adv)$", "WordNet-3.0"),
    "sword-text-kjv": ("sword", r"/[on]t\.bz[sz]$", "public domain"),
    "debian-handbook": ("page", r"/en-US/.*\.html", "GPL-2+ or CC-BY-SA-3.0"),
    "debian-faq": ("page", r"en\.html", "GPL-2+"),
    "debian-policy": ("page", r"\.html(\.gz)?$", "GPL-2+"),
    "debian-reference-en": ("page", r"en\.html", "GPL-2+"),
    "developers-reference": ("page", r"\.html", "GPL-2+"),
    "maint-guide": ("page", r"en\.html", "GPL-2+"),
    "installation-guide-amd64": ("page", r"/en/.*\.html", "GPL-2+"),
    "harden-doc": ("page", r"/en-US/.*\.html|en\.html", "GPL-2+"),
    "gnome-user-docs": ("page", r"/help/C/.*\.page$", "CC-BY-SA-3.0"),
    "gimp-help-en": ("page", r"/en/.*\.html$", "GFDL-1.2+"),
    "libreoffice-help-en-us": ("page", r"\.html$", "MPL-2.0"),
    "lilypond-doc-html": (
        "page",
        r"/(learning|notation|usage|essay|music-glossary|changes)/[^/]*(?<!\.[a-z][a-z])\.html$",
        "GFDL-1.3+",
    ),
    "linux-doc-6.1": ("page", r"/html/.*\.html", "GPL-2"),
    "python3.11-doc": ("page", r"\.html$", "PSF-2.0"),
    "python-django-doc": ("page", r"\.html$", "BSD-3-clause"),
    "postgresql-doc-15": ("page", r"\.html$", "PostgreSQL"),
    "sqlite3-doc": ("page", r"\.html$", "public domain"),
    "apache2-doc": ("page", r"/en/.*\.html$|\.html\.en$", "Apache-2.0"),
    "git-doc": ("page", r"\.html$", "GPL-2"),
    "krb5-doc": ("page", r"\.html$", "MIT"),
    "r-doc-html": ("page", r"\.html$", "GPL-2+"),
    "octave-doc": ("page", r"\.html$", "GPL-3+"),
    "erlang-doc": ("page", r"/doc/.*\.html$", "Apache-2.0"),
    "rust-doc": (
        "page",
        r"/html/(book|reference|nomicon|rust-by-example|edition-guide|rustc|rustdoc|cargo"
        r"|unstable-book|embedded-book|clippy)/.*(?<!/print)\.html$",
        "MIT or Apache-2.0",
    ),
    "perl-doc": ("pod", r"\.pod$", "GPL-1+ or Artistic"),
}


# ---- packages ----


def fetch(package, folder):
    """Path of the package's file in `folder`, downloaded when needed; None: apt has none."""
    found = sorted(folder.glob(package + "_*.deb"))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "-qq", "download", package]
        subprocess.run(command, cwd=folder, check=False, stderr=subprocess.DEVNULL)
        found = sorted(folder.glob(package + "_*.deb"))
    return found[-1] if found else None


def files_of(package_file, wanted):
    """(name, bytes) of each file of a package whose name matches, in order of names."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package_file)]
    files = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                if member.isfile() and re.search(wanted, member.name):
                    files[member.name] = archive.extractfile(member).read()
    if process.returncode:
        raise SystemExit(f"{package_file}: not a package; delete it and try again")
    return sorted(files.items())


def plain_text(name, data):
    """The text of a file, unpacked where it is compressed."""
    if name.endswith((".gz", ".dz")):
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace")


# ---- from files to documents: each reader gives (name, [paragraph]) ----

_NO_PROSE = re.compile(r"<(pre|script|style|table|nav|head|footer|title)\b.*?</\1\s*>", re.S | re.I)
_BLOCK = re.compile(r"</?(?:p|li|dd|dt|div|h\d|br|hr|ul|ol|dl|section|td|tr|item|title|note|steps)"
                    r"\b[^>]*>", re.I)
_TAG = re.compile(r"<[^>]*>")


def read_page(files):
    """HTML or Mallard pages: the blocks of text between the tags that make blocks."""
    for name, data in files:
        text = _NO_PROSE.sub("\n", plain_text(name, data))
        yield name, [html.unescape(_TAG.sub("", block)) for block in _BLOCK.split(text)]


def read_pod(files):
    """Perl's own documents: paragraphs at the margin, without the marks for type faces."""
    for name, data in files:
        paragraphs = []
        for block in plain_text(name, data).split("\n\n"):
            if block[:1] in ("=", " ", "\t"):
                continue
            for _ in range(3):  # marks stand inside each other
                block = re.sub(r"[BCEFILSZ]<+ ?([^<>]*?) ?>+", r"\1", block)
            paragraphs.append(block)
        yield name, paragraphs


def entries(text):
    """The entries of a dictionary in dictd's format: each begins at the margin."""
    return re.split(r"\n(?=\S)", text)


def grouped(name, paragraphs):
    """A dictionary's entries as documents of ENTRIES each."""
    for start in range(0, len(paragraphs), ENTRIES):
        yield f"{name} {start}", paragraphs[start : start + ENTRIES]


def read_dictionary(files):
    """Dictionaries of words and things: each entry's paragraphs that are prose."""
    for name, data in files:
        paragraphs = []
        for entry in entries(plain_text(name, data)):
            head, *blocks = re.split(r"\n\s*\n", entry)
            blocks = [re.sub(r"[{}]", "", block) for block in blocks]
            paragraphs.append((" ".join(head.split()), blocks))
        for document, group in grouped(name, paragraphs):
            yield document, [line for head, blocks in group for line in [head + ":", *blocks]]


_GCIDE_MARKS = (
    (re.compile(r"\\[^\\\n]*\\\s*(\([^()]*\))?,?"), ""),  # how it is said
    (re.compile(r"\[[^\[\]]{0,300}\]"), ""),  # whence the word comes, and who wrote the entry
    (re.compile(r"\[[^\[\]]{0,300}\]"), ""),
    (re.compile(r"[{}]"), ""),
    (re.compile(r"\?\?+"), ""),
)


def read_gcide(files):
    """Webster's dictionary of 1913: a line an entry, without pronunciation and etymology."""
    for name, data in files:
        lines = []
        for entry in entries(plain_text(name, data)):
            if "1913 Webster" not in entry and "WordNet" in entry:
                continue  # WordNet's, which is there by itself
            for mark, instead in _GCIDE_MARKS:
                entry = mark.sub(instead, entry)
            lines.append(" ".join(entry.split()))
        yield from grouped(name, lines)


def read_glosses(files):
    """WordNet: a line a meaning, the words and what they mean."""
    for name, data in files:
        lines = []
        for line in plain_text(name, data).splitlines():
            fields, bar, gloss = line.partition(" | ")
            parts = fields.split(" ")
            if not bar or line.startswith("  "):
                continue
            words = parts[4 : 4 + 2 * int(parts[3], 16) : 2]
            words = [re.sub(r"\(.*", "", word).replace("_", " ") for word in words]
            lines.append(f"{', '.join(words)}: {gloss.strip()}.")
        yield from grouped(name, lines)


def read_sword(files):
    """A text of the SWORD project: blocks (books), compressed one by one, of marked-up verses."""
    contents = dict(files)
    for name in sorted(contents):
        if not name.endswith(".bzz"):
            continue
        index = np.frombuffer(contents[name[:-1] + "s"], "<u4").reshape(-1, 3)
        for number, (start, size, _) in enumerate(index):
            text = zlib.decompress(contents[name][start : start + size]).decode("utf-8", "replace")
            text = re.sub(r"<(note|title)\b.*?</\1>", "", text, flags=re.S)
            text = re.sub(r"<[^>]*type=.x-p.[^>]*>|<(?:/p|chapter|div)\b[^>]*>", "\n", text)
            text = html.unescape(_TAG.sub("", text)).replace("\xb6", "\n")
            yield f"{name} {number}", text.split("\n")


def read_plays(files):
    """Plays as plain text: scenes of some hundred lines, which keep their lines."""
    for name, data in files:
        speeches = re.split(r"\n\s*\n", plain_text(name, data))
        for start in range(0, len(speeches), 200):
            yield f"{name} {start}", speeches[start : start + 200]


READERS = {
    "page": read_page,
    "pod": read_pod,
    "dictionary": read_dictionary,
    "gcide": read_gcide,
    "glosses": read_glosses,
    "sword": read_sword,
}


# ---- cleaning ----

_ASCII = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "--",
    "\u2026": "...", "\u00a0": " ", "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u00ad": "",
    "\u200b": "", "\u2022": " ", "\u00b6": "", "\u00c6": "Ae", "\u00e6": "ae", "\u0153": "oe",
})
_COMMON = re.compile(r"\b(?:the|of|and|a|an|to|in|is|or|as|be|that|for|it|with|by|not|which)\b")
_ODD = re.compile(r"[^A-Za-z ,.;:'\"!?()-]")
_ENDS = (".", "!", "?", ":", ";", ")", '"', "'")


def tidy(text):
    """One line of ASCII with single spaces; accents go, typographer's marks become plain ones."""
    text = unicodedata.normalize("NFKD", text.translate(_ASCII))
    text = "".join(c for c in text if not unicodedata.combining(c)) if not text.isascii() else text
    return " ".join(text.split())


def is_prose(text):
    """Whether a tidy paragraph is English prose: sentences of common words, few other marks."""
    if not text.isascii() or len(text) < 24 or not text.endswith(_ENDS):
        return False
    words = text.count(" ") + 1
    if words < 5 or len(text) / words > 9:
        return False
    return len(_ODD.findall(text)) <= 0.04 * len(text) and (
        len(_COMMON.findall(text.lower())) >= max(1, words // 12)
    )


class Cleaner:
    """Keeps the prose of documents, every paragraph once over all of them."""

    def __init__(self):
        self._seen = set()

    def clean(self, paragraphs):
        """The paragraphs to keep, joined by line ends."""
        kept = []
        for paragraph in paragraphs:
            text = tidy(paragraph)
            if not is_prose(text):
                continue
            key = hashlib.blake2b(re.sub(r"[^a-z]", "", text.lower()).encode(), digest_size=8)
            if key.digest() not in self._seen:
                self._seen.add(key.digest())
                kept.append(text)
        return "\n".join(kept)


def is_held_out(name):
    """Whether a document is held out: by its name alone, so that it never depends on the rest."""
    return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT_OF == 0


def sources(folder):
    """(package, licence, its documents) of what can be had here."""
    for package, (kind, wanted, licence) in PACKAGES.items():
        path = fetch(package, folder / "packages")
        if path is None:
            print(f"{package}: apt-get knows no such package; left out", file=sys.stderr)
            continue
        yield package, licence, READERS[kind](files_of(path, wanted))
    if EXTRA.exists():
        yield EXTRA.stem, "public domain", read_plays([(EXTRA.stem, EXTRA.read_bytes())])


def write_text(folder):
    """train.txt, heldout.txt and sources.csv."""
    cleaner, rows = Cleaner(), []
    train_path, held_path = folder / "train.txt.tmp", folder / "heldout.txt.tmp"
    with open(train_path, "w") as train, open(held_path, "w") as held:
        for package, licence, documents in sources(folder):
            counts = collections.Counter()
            for name, paragraphs in documents:
                text = cleaner.clean(paragraphs)
                if len(text) < MIN_DOCUMENT:
                    continue
                held_out = is_held_out(f"{package} {name}")
                (held if held_out else train).write(text + "\n" + END_OF_TEXT + "\n")
                counts["documents"] += 1
                counts["heldout" if held_out else "train"] += len(text)
            rows.append([package, licence, *(counts[k] for k in ("documents", "train", "heldout"))])
            print(*rows[-1], sep="\t", flush=True)
    with open(folder / "sources.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["package", "licence", "documents", "train_chars", "heldout_chars"])
        table.writerows(rows)
    for name in ("train.txt", "heldout.txt"):
        os.replace(folder / (name + ".tmp"), folder / name)


# ---- vocabulary ----


class _Pairs:
    """Counts of neighbouring symbols over all pieces, kept up to date while symbols join."""

    def __init__(self, pieces):
        self.splits = [[BYTE_TO_SYMBOL[b] for b in piece.encode()] for piece, _ in pieces]
        self.weights = [n for _, n in pieces]
        self.counts, self.where = collections.Counter(), collections.defaultdict(set)
        for i, symbols in enumerate(self.splits):
            for pair in zip(symbols, symbols[1:]):
                self.counts[pair] += self.weights[i]
                self.where[pair].add(i)
        self.heap = [(-n, pair) for pair, n in self.counts.items()]
        heapq.heapify(self.heap)

    def best(self):
        """The most frequent pair; ties by spelling."""
        while self.heap:
            n, pair = heapq.heappop(self.heap)
            if self.counts.get(pair) == -n:
                return pair
        return None

    def join(self, pair):
        """Make one symbol of the pair wherever it stands."""
        changed = set()
        for i in self.where.pop(pair):
            symbols, weight = self.splits[i], self.weights[i]
            for old in zip(symbols, symbols[1:]):
                self.counts[old] -= weight
                changed.add(old)
            joined = self._joined(symbols, pair)
            self.splits[i] = joined
            for new in zip(joined, joined[1:]):
                self.counts[new] += weight
                self.where[new].add(i)
                changed.add(new)
        self.counts.pop(pair, None)
        for other in changed:
            if self.counts.get(other, 0) > 0:
                heapq.heappush(self.heap, (-self.counts[other], other))

    @staticmethod
    def _joined(symbols, pair):
        joined, i = [], 0
        while i < len(symbols):
            if tuple(symbols[i : i + 2]) == pair:
                joined.append(symbols[i] + symbols[i + 1])
                i += 2
            else:
                joined.append(symbols[i])
                i += 1
        return joined


def learn_merges(text, n_merges):
    """The merges ("left right") of byte-pair encoding, most frequent first."""
    counts = collections.Counter(PIECES.findall(text))
    pairs = _Pairs([(p, n) for p, n in sorted(counts.items()) if n > 2 and len(p) < 40])
    merges, made = [], set()
    while len(merges) < n_merges:
        pair = pairs.best()
        if pair is None:
            break
        pairs.join(pair)
        # two ways to make one token would be refused; the second way is not needed
        if pair[0] + pair[1] not in made:
            made.add(pair[0] + pair[1])
            merges.append(" ".join(pair))
    return merges


def write_merges(folder):
    """merges.json, learnt from the text to train on."""
    text = (folder / "train.txt").read_text().replace(END_OF_TEXT, "\n")
    merges = learn_merges(text, VOCAB - 256 - len(SPECIALS))
    lines = ",\n".join(json.dumps(merge, ensure_ascii=False) for merge in merges)
    (folder / "merges.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(merges)} merges", flush=True)


def write_tokens(folder):
    """train.npy and heldout.npy."""
    tokenizer = Tokenizer.load(folder / "merges.json")
    for part in ("train", "heldout"):
        text = (folder / (part + ".txt")).read_text()
        documents = text.split("\n" + END_OF_TEXT + "\n")
        end, chunks = tokenizer.id_of(END_OF_TEXT), []
        for document in documents:
            if document:
                chunks.append(np.array(tokenizer.encode(document) + [end], np.uint16))
        tokens = np.concatenate(chunks)
        np.save(folder / (part + ".npy"), tokens)
        print(f"{part}: {len(tokens)} tokens, {len(text) / len(tokens):.2f} characters each",
              flush=True)


def prepare(folder=FOLDER):
    """All files, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, step in (("heldout.txt", write_text), ("merges.json", write_merges),
                       ("heldout.npy", write_tokens)):
        if not (folder / name).exists():
            step(folder)


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    prepare(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
