"""Do the files of language_export.py compute in llama.cpp what the checkpoint computes here?

    python3 language_parity.py --llama FOLDER     # where llama-perplexity is (default: .deps/bin)

Both read the same held-out text in rows of 512 tokens, all in f32 (the weights as the file holds
them): the token ids must be the same, the log probabilities of all tokens and the perplexity
close. Exit code 1 where they are not.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import language
import language_text
import ops
from config import Config
from parity import as_stored
from tokenizer import END_OF_TEXT, Tokenizer

LLAMA = language_text.HERE.parents[1] / ".deps" / "bin"
ROWS = 4
CUT_OFF = 16.0  # nats below the likeliest token: llama-perplexity keeps what is less likely as this
# The runtime rounds what goes into a product with an F16 matrix to F16, and keeps the log
# probabilities in steps of 2.4e-4.
TOLERANCE = {"f32": (0.002, 0.0002), "f16": (0.03, 0.001)}  # log probabilities, mean of the loss


def sample(folder, n_rows=ROWS):
    """Plain held-out text, long enough for the rows; pieces from all over it."""
    documents = (folder / "heldout.txt").read_text().split("\n" + END_OF_TEXT + "\n")
    wanted = n_rows * language.ROW * 8 // 64  # characters from each of 64 documents
    chosen = documents[:: max(1, len(documents) // 64)]
    return "\n".join(document[:wanted] for document in chosen)


def saved_logits(path):
    """(token ids [rows, n], log probabilities [rows, n_scored, vocab]) that llama-perplexity saved.

    The second half of each row is scored, but for its last token; unlikely tokens are cut off.
    """
    data = path.read_bytes()
    if data[:8] != b"_logits_":
        raise SystemExit(f"{path}: not what llama-perplexity saves")
    n, vocab, n_rows = np.frombuffer(data, "<i4", 3, 8)
    tokens = np.frombuffer(data, "<i4", n_rows * n, 20).reshape(n_rows, n)
    n_scored, width = n - 1 - n // 2, 2 * ((vocab + 1) // 2) + 4
    rows = np.frombuffer(data, "<u2", -1, 20 + 4 * n_rows * n).reshape(n_rows, n_scored, width)
    scale, low = np.ascontiguousarray(rows[..., :4]).view("<f4").transpose(2, 0, 1)[..., None]
    return tokens, low + scale * rows[..., 4 : 4 + vocab]


def runtime(llama, model, text):
    """(token ids, log probabilities) of llama.cpp. Not its printed perplexity: the program may end
    before its last lines are out."""
    with tempfile.TemporaryDirectory() as folder:
        words, logits = Path(folder) / "text", Path(folder) / "logits"
        words.write_text(text)
        command = [llama / "llama-perplexity", "-m", model, "-f", words, "-c", language.ROW,
                   "--chunks", ROWS, "--save-all-logits", logits, "-fa", "off", "-ctk", "f32",
                   "-ctv", "f32", "-ngl", 0]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              errors="replace", check=False)
        if done.returncode or not logits.exists():
            raise SystemExit(f"llama-perplexity failed ({done.returncode}):\n{done.stderr[-800:]}")
        return saved_logits(logits)


@torch.no_grad()
def ours(checkpoint, kind, tokens):
    """Log probabilities of the same tokens, cut off alike, of the checkpoint."""
    model = language.new_model(Config.from_dict(checkpoint["config"]))
    model.load_state_dict(as_stored(checkpoint["text"], kind))
    ids, first = torch.from_numpy(tokens.astype(np.int64)), tokens.shape[1] // 2
    with ops.exact():
        pos = language.positions(ids.shape[1], 0, 0, 0)
        logits = model.logits(model.hidden(model.embed(ids), pos))[:, first:-1]
    known = logits.log_softmax(-1)
    return torch.maximum(known, known.amax(-1, keepdim=True) - CUT_OFF).numpy()


def mean_loss(known, tokens):
    """Of the tokens that came, in nats."""
    came = tokens[:, tokens.shape[1] // 2 + 1 :, None].astype(np.int64)
    return -float(np.take_along_axis(known, came, -1).mean(dtype=np.float64))


def compare(checkpoint, tokenizer, text, model, kind, llama):
    """Print the differences of one file; returns whether all is well."""
    tokens, theirs = runtime(llama, model, text)
    same = tokenizer.encode(text)[: tokens.size] == tokens.flatten().tolist()
    known = ours(checkpoint, kind, tokens)
    worst, loss, their_loss = np.abs(known - theirs).max(), *(
        mean_loss(values, tokens) for values in (known, theirs))
    limits = TOLERANCE[kind]
    well = same and worst <= limits[0] and abs(loss - their_loss) <= limits[1]
    print(f"{model.name}: token ids {'the same' if same else 'DIFFER'}, perplexity "
          f"{np.exp(their_loss):.4f} in llama.cpp and {np.exp(loss):.4f} here, log probabilities "
          f"differ by at most {worst:.4f} (limit {limits[0]}): "
          f"{'as it should be' if well else 'NOT THE SAME'}")
    return well


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=language_text.FOLDER)
    parser.add_argument("--checkpoint", type=Path, help="default: language.pt in the folder")
    parser.add_argument("--llama", type=Path, default=LLAMA, help="folder of llama-perplexity")
    options = parser.parse_args(arguments)
    folder = options.folder
    checkpoint = torch.load(options.checkpoint or folder / "language.pt", map_location="cpu")
    tokenizer, text = Tokenizer.load(folder / "merges.json"), sample(folder)
    files = {kind: folder / f"language-{kind}.gguf" for kind in TOLERANCE}
    results = [compare(checkpoint, tokenizer, text, path, kind, options.llama)
               for kind, path in files.items() if path.exists()]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
