"""Known mistakes in settings, each refused before any work, with key, got and wanted."""

#: Choices that bring sections which the default has not.
BASES = {
    "default": (),
    "features": (
        "features=[apen,chroma,cochleagram,contrast,logmel,mfcc,pitch,rms,shape,spectrogram,zcr]",
    ),
    "encoders": ("features=[ge2e,melpower,wavlm,egemaps]",),
    "degraded": ("degradations=[white,pink,babble,reverberation,telephone,level]",),
    "varied": ("variants=[stretch,pitch,noise,room]",),
    "plateau": ("train/schedule=plateau",),
    "svm": ("model=svm",),
    "ensemble": ("model=ensemble",),
    "distil": ("model=distil",),
    "ge2e": ("model=ge2e",),
    "crnn": ("model=crnn",),
    "cnn1d": ("model=cnn1d",),
    "transformer": ("model=transformer",),
    "gru": ("model=gru",),
    "speaker": ("calibration=speaker",),
    "folder": ("corpora=[folder]", "data=real"),
    "table": ("corpora=[table]", "data=real"),
    "fixed": ("split=fixed",),
    "random": ("split=random",),
}
GONE = object()  # the setting is deleted
#: Choice, setting, wrong value, what the message must say is wanted.
MISTAKES = [
    ("default", "export", "maybe", "true or false"),
]
