"""Train the demo's encoder, a small ECAPA-TDNN, on synthesised voices.

espeak-ng speaks random words with made-up voices, none of them a voice of the demo's corpus;
SpeechBrain's ECAPA-TDNN learns to tell them apart. ``encoder/hyperparams.yaml`` says what is
trained, and how many voices there are; its folder gets the trained parameters, in the layout of
``speechbrain/spkrec-ecapa-voxceleb`` on the Hugging Face hub. What the result is worth is in
``docs/measurements/demo_encoder.md``.

Run it as ``python config/demo/train_encoder.py``; it needs Debian's ``espeak-ng`` and half an
hour on one core.
"""

import random
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hyperpyyaml import load_hyperpyyaml
from make_corpus import SPEAKERS, synthesise
from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper
from speechbrain.nnet.schedulers import WarmAndExpDecayLRSchedule
from torchaudio.functional import resample
from tqdm import tqdm

ENCODER = Path(__file__).resolve().parent / "encoder"
SEED = 1234
SAMPLE_RATE = 16000

N_STEPS = 5000
BATCH_SIZE = 48
CROP_SECONDS = (0.3, 1.6)
LEARNING_RATE = 2e-3
# As in SpeechBrain's VoxCeleb recipe for ECAPA-TDNN.
MARGIN, SCALE, WEIGHT_DECAY = 0.2, 30, 2e-6

N_RECORDINGS = 8
N_WORDS = 10
# What is quieter at the ends of a recording, relative to its loudest sample, is cut off.
QUIET = 0.01
LANGUAGES = (
    *("en-gb", "en-us", "en-029", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc"),
    *("en-gb-x-gbclan", "en-gb-x-gbcwmd", "de", "nl", "sv", "da", "nb", "fr-fr", "fr-be"),
    *("es", "es-419", "it", "pt", "pt-br", "ro", "pl", "cs", "fi", "hu", "tr", "id", "sw", "af"),
)
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "adam", "anika", "antonio", "aunty"),
    *("belinda", "benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed", "edward"),
    *("edward2", "Gene", "Gene2", "grandma", "grandpa", "gustave", "Henrique", "Hugo"),
    *("iven", "iven2", "iven3", "iven4", "Jacky", "john", "kaukovalta", "Lee", "linda"),
    *("klatt", "klatt2", "klatt3", "klatt4", "marcelo", "Marco", "Mario", "max", "Michael"),
    *("michel", "miguel", "Mike", "norbert", "pablo", "paul", "pedro", "quincy", "rob"),
    *("robert", "sandro", "shelby", "steph", "steph2", "steph3", "travis", "victor", "zac"),
)
WORDS = """
    about above across after again air almost always animal answer apple autumn balloon
    basket because before behind better between bicycle blue bottle bread breathe bridge
    bright brother butter candle careful castle chair change cheese child choose circle city
    clever cloud coffee colour copper corner country dance danger deep dinner distance doctor
    dream early earth eight empty engine enough evening every famous father feather field
    fifteen finger fire five flower follow forest four friend fruit future garden gentle
    giant glass golden great green happy heavy history holiday honey house hundred island
    jacket journey judge juice jump kitchen knowledge ladder language laugh leather lemon
    library light listen little machine many meadow measure milk mirror money monkey month
    morning mother mountain music narrow needle never nine noise north number ocean office
    often one onion orange other outside oyster page paper people perhaps picture piece
    pleasure pocket poem point popular potato power pretty purple question quick quiet rabbit
    rain reason remember river rough round school season second seven shadow share shoulder
    silver simple six sister slow smooth soldier south speak spring square station street
    strong student sugar summer table teach ten thousand three thunder together tomorrow
    tooth travel treasure twelve two under usual valley value very village visit voice voyage
    walk warm water weather west whisper white window winter wonder world yellow yesterday
    young zebra zero
"""


class Voice(NamedTuple):
    """A made-up speaker.

    Attributes:
        name: An espeak-ng voice and variant.
        pitch: 0 to 99.
        speed: Words a minute.
        sample_rate: Rate in Hz at which its speech is played: away from espeak-ng's 22050, its
            formants, pitch and speed change together, as with a smaller or larger head.

    """

    name: str
    pitch: int
    speed: int
    sample_rate: int


def make_voices(n_voices: int) -> list[Voice]:
    """Draw so many different speakers, none with the voice and variant of one of the demo's."""
    generator = random.Random(SEED)
    names = {f"{language}+{variant}" for language in LANGUAGES for variant in VARIANTS}
    names -= {speaker.voice for speaker in SPEAKERS}
    return [
        Voice(
            name,
            pitch=generator.randrange(12, 88),
            speed=generator.randrange(130, 190),
            # Multiples of 500 Hz, as the resampler's filter grows with an uneven rate.
            sample_rate=generator.randrange(18500, 26500, 500),
        )
        for name in generator.sample(sorted(names), n_voices)
    ]


def record(voice: Voice, seed: int) -> torch.Tensor:
    """Return what a voice says, int16, shape (samples,), at 16 kHz.

    Pitch and speed differ a little from recording to recording, as they do with people.
    """
    generator = random.Random(seed)
    parts = []
    for _ in range(N_RECORDINGS):
        pitch = voice.pitch + generator.randint(-12, 12)
        speed = voice.speed + generator.randint(-20, 20)
        words = " ".join(generator.choices(WORDS.split(), k=N_WORDS))
        signal, _ = synthesise(voice.name, pitch, speed, words)
        signal = trim(resample(signal, voice.sample_rate, SAMPLE_RATE))
        parts.append(0.9 * signal / signal.abs().max())
    return (torch.cat(parts) * 32767).short()


def trim(signal: torch.Tensor) -> torch.Tensor:
    """Return a signal of shape (samples,) without the silence at its ends."""
    (spoken,) = torch.nonzero(signal.abs() > QUIET * signal.abs().max(), as_tuple=True)
    return signal[spoken[0] : spoken[-1] + 1]


def draw_crops(recordings: list[torch.Tensor], speakers: torch.Tensor) -> torch.Tensor:
    """Return a segment of each speaker's speech, float32, (batch, samples), all equally long."""
    shortest, longest = CROP_SECONDS
    n_samples = int((shortest + (longest - shortest) * torch.rand(())) * SAMPLE_RATE)
    crops = []
    for speaker in speakers.tolist():
        start = int(torch.randint(len(recordings[speaker]) - n_samples, ()))
        crops.append(recordings[speaker][start : start + n_samples])
    return torch.stack(crops) / 32768


def degrade(signals: torch.Tensor) -> torch.Tensor:
    """Return signals of shape (batch, samples) as other rooms, microphones and lines leave them.

    Each gets its own reverberation, colour, noise, band limit and gain, all in the frequency
    domain.
    """
    batch, n_samples = signals.shape
    n_fft = n_samples + SAMPLE_RATE // 2
    frequencies = torch.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)
    speech = torch.fft.rfft(signals, n_fft) * _rooms(batch, n_fft) * _colours(batch, frequencies)
    noise = torch.fft.rfft(torch.randn(batch, n_fft)) * _colours(batch, frequencies)
    snr = _uniform(batch, 5, 50)
    noise *= 10 ** (-snr / 20) * _rms(speech) / _rms(noise)
    # What sampling at 8, 11.025 and 16 kHz leaves.
    limits = torch.tensor([4000.0, 5512.5, 8000.0])[torch.randint(3, (batch, 1))]
    mixed = torch.fft.irfft((speech + noise) * (frequencies <= 0.97 * limits), n_fft)
    mixed = mixed[:, :n_samples]
    return mixed / mixed.abs().amax(1, keepdim=True) * 10 ** (_uniform(batch, -30, 0) / 20)


def _uniform(batch: int, lowest: float, highest: float) -> torch.Tensor:
    return lowest + (highest - lowest) * torch.rand(batch, 1)


def _rms(spectrum: torch.Tensor) -> torch.Tensor:
    return spectrum.abs().square().mean(1, keepdim=True).sqrt()


def _rooms(batch: int, n_fft: int) -> torch.Tensor:
    """Return the spectra of made-up rooms: the direct sound, then noise that dies away."""
    seconds = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    # The reverberation time is that of a decay by 60 dB, a factor of 1000.
    echoes = torch.randn(batch, len(seconds)) * 1000 ** (-seconds / _uniform(batch, 0.05, 0.5))
    level = 10 ** (_uniform(batch, -40, 0) / 20)
    echoes *= level / echoes.square().sum(1, keepdim=True).sqrt()
    echoes[:, 0] = 1
    return torch.fft.rfft(echoes, n_fft)


def _colours(batch: int, frequencies: torch.Tensor) -> torch.Tensor:
    """Return random smooth frequency responses, (batch, frequencies)."""
    decibels = 6 * torch.randn(batch, 1, 9)
    smooth = torch.nn.functional.interpolate(
        decibels, len(frequencies), mode="linear", align_corners=True
    )
    return 10 ** (smooth[:, 0] / 20)


def embed(hparams: dict[str, Any], signals: torch.Tensor) -> torch.Tensor:
    """Return the embeddings, (batch, 1, dim), of signals of shape (batch, samples)."""
    features = hparams["compute_features"](signals)
    normalized = hparams["mean_var_norm"](features, torch.ones(len(signals)))
    embeddings: torch.Tensor = hparams["embedding_model"](normalized)
    return embeddings


def train(hparams: dict[str, Any], recordings: list[torch.Tensor]) -> None:
    """Train the embedding model and its classifier in place."""
    model, classifier = hparams["embedding_model"].train(), hparams["classifier"].train()
    parameters = [*model.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = WarmAndExpDecayLRSchedule(
        LEARNING_RATE, n_warmup_steps=N_STEPS // 20, total_steps=N_STEPS, decay_factor=0.01
    )
    loss_of = LogSoftmaxWrapper(AdditiveAngularMargin(MARGIN, SCALE))
    mean_loss = 0.0
    with tqdm(range(N_STEPS), mininterval=10) as steps:
        for step in steps:
            schedule(optimizer)
            speakers = torch.randint(len(recordings), (BATCH_SIZE,))
            outputs = classifier(embed(hparams, degrade(draw_crops(recordings, speakers))))
            loss = loss_of(outputs, speakers[:, None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean_loss += (loss.item() - mean_loss) / min(step + 1, 100)
            steps.set_postfix(loss=f"{mean_loss:.2f}", refresh=False)


def fit_mean(hparams: dict[str, Any], recordings: list[torch.Tensor]) -> None:
    """Set `mean_var_norm_emb` to the embeddings' mean over the speakers, undegraded."""
    hparams["embedding_model"].eval()
    with torch.inference_mode():
        crops = draw_crops(recordings, torch.arange(len(recordings)))
        hparams["mean_var_norm_emb"](embed(hparams, crops), torch.ones(len(crops)))


def save_encoder(hparams: dict[str, Any], folder: Path) -> None:
    """Write the parameters that ``hyperparams.yaml`` names into its folder."""
    torch.save(hparams["embedding_model"].state_dict(), folder / "embedding_model.ckpt")
    torch.save(hparams["classifier"].state_dict(), folder / "classifier.ckpt")
    hparams["mean_var_norm_emb"]._save(folder / "mean_var_norm_emb.ckpt")
    speakers = [f"speaker{number:03d}" for number in range(hparams["out_n_neurons"])]
    hparams["label_encoder"].update_from_iterable(speakers)
    hparams["label_encoder"].save(folder / "label_encoder.txt")


def main() -> None:
    """Synthesise, train, and write the parameters beside ``encoder/hyperparams.yaml``."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    hparams = load_hyperpyyaml((ENCODER / "hyperparams.yaml").read_text(encoding="utf-8"))
    voices = make_voices(hparams["out_n_neurons"])
    recordings = [record(voice, seed) for seed, voice in enumerate(tqdm(voices))]
    train(hparams, recordings)
    fit_mean(hparams, recordings)
    save_encoder(hparams, ENCODER)


if __name__ == "__main__":
    main()
