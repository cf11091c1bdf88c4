"""The words of a result: status, code and decision, each with one meaning."""

from enum import StrEnum

NOTICE = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."


class Status(StrEnum):
    """What became of one input."""

    OK = "ok"  # an answer
    REVIEW = "review"  # an answer that a person must look at
    EXCLUDED = "excluded"  # whole, but not fit to be answered
    ERROR = "error"  # could not be processed
    PENDING = "pending"  # the run was stopped before it


class Decision(StrEnum):
    """What the reader should do, most pressing first."""

    URGENT = "urgent"
    REFER = "refer"
    HUMAN_REVIEW = "human_review"
    RETAKE = "retake"
    NO_REFERRAL = "no_referral"

    @property
    def rank(self) -> int:
        """0 is the most pressing."""
        return list(Decision).index(self)


class Code(StrEnum):
    """Why a case is not simply ``ok``; the first that applies stands in the column ``code``."""

    OK = "ok"
    # review: there is an answer, and a reason not to take it alone
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    EMPTY_SET = "empty_set"
    AMBIGUOUS = "ambiguous"
    UNCALIBRATED_SITE = "uncalibrated_site"
    NO_THRESHOLD = "no_threshold"
    # excluded: whole, but not fit to be answered
    UNGRADABLE = "ungradable"
    NO_TISSUE = "no_tissue"
    NOT_AN_IMAGE = "not_an_image"
    WRONG_KIND = "wrong_kind"
    UNSUPPORTED = "unsupported"
    FOLDER_LOOP = "folder_loop"
    RESOLUTION_TOO_LOW = "resolution_too_low"
    SEVERAL_FIELDS = "several_fields"
    OTHER_ENCODER = "other_encoder"
    OTHER_TILES = "other_tiles"
    # error: could not be processed
    FAULTY_ROW = "faulty_row"
    NOT_FOUND = "not_found"
    NOT_AVAILABLE = "not_available"
    PERMISSION_DENIED = "permission_denied"
    EMPTY_FILE = "empty_file"
    READ_FAILED = "read_failed"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    MPP_MISSING = "mpp_missing"
    MPP_IMPLAUSIBLE = "mpp_implausible"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    OUTPUT_FAILED = "output_failed"
    INTERNAL_ERROR = "internal_error"
    # pending
    NOT_REACHED = "not_reached"


MEANING: dict[Code, str] = {
    Code.OK: "Nothing stands against the answer.",
    Code.OUT_OF_DISTRIBUTION: "Unlike the images the model was trained on.",
    Code.EMPTY_SET: "No class fits: the prediction set is empty.",
    Code.AMBIGUOUS: "The prediction set holds both answers, or not that of the threshold.",
    Code.UNCALIBRATED_SITE: "The model was never checked at this site.",
    Code.NO_THRESHOLD: "The model has no threshold for this answer.",
    Code.UNGRADABLE: "The image is not good enough to be answered.",
    Code.NO_TISSUE: "No tissue was found on the slide.",
    Code.NOT_AN_IMAGE: "The file is not an image.",
    Code.WRONG_KIND: "An image, but not of the kind that this model reads.",
    Code.UNSUPPORTED: "An image in a form that offsite does not read (animated, several pages).",
    Code.FOLDER_LOOP: "The folder leads back into itself.",
    Code.RESOLUTION_TOO_LOW: "Coarser than the model needs.",
    Code.SEVERAL_FIELDS: "Several retinas in one picture: none stands for the patient.",
    Code.OTHER_ENCODER: "Features of another encoder than the model was trained on.",
    Code.OTHER_TILES: "Features of tiles of another size or scale than the model was trained on.",
    Code.FAULTY_ROW: "What the table says of the image cannot be used.",
    Code.NOT_FOUND: "There is no such file.",
    Code.NOT_AVAILABLE: "A served model was asked for a file that it may not read, or that is not there.",
    Code.PERMISSION_DENIED: "The file may not be read.",
    Code.EMPTY_FILE: "The file is empty.",
    Code.READ_FAILED: "The disk or network did not give the file; the next run tries again.",
    Code.UNREADABLE: "The file is damaged or cut short.",
    Code.TOO_LARGE: "More pixels than an image of this kind can have.",
    Code.MPP_MISSING: "The slide does not say its scale.",
    Code.MPP_IMPLAUSIBLE: "The scale of the slide cannot be right.",
    Code.OUT_OF_MEMORY: "It takes more memory than it may (`--case-gib`), or than there is.",
    Code.TIMED_OUT: "It was not read in the time that it may take (`--case-seconds`).",
    Code.CRASHED: "A library crashed on it; case.json has what it said last.",
    Code.OUTPUT_FAILED: "Its result could not be written.",
    Code.INTERNAL_ERROR: "offsite failed on it; case.json says where.",
    Code.NOT_REACHED: "The run was stopped before this case.",
}

EXCLUDED = frozenset(
    {
        Code.UNGRADABLE,
        Code.NO_TISSUE,
        Code.NOT_AN_IMAGE,
        Code.WRONG_KIND,
        Code.UNSUPPORTED,
        Code.FOLDER_LOOP,
        Code.RESOLUTION_TOO_LOW,
        Code.SEVERAL_FIELDS,
        Code.OTHER_ENCODER,
        Code.OTHER_TILES,
    }
)
# The input is not to blame: the next run tries again.
PASSING = frozenset(
    {
        Code.NOT_FOUND,
        Code.NOT_AVAILABLE,
        Code.PERMISSION_DENIED,
        Code.READ_FAILED,
        Code.OUT_OF_MEMORY,
        Code.OUTPUT_FAILED,
        Code.INTERNAL_ERROR,
        Code.NOT_REACHED,
    }
)


def status_of(code: Code) -> Status:
    """Return the status of a case that has no answer."""
    if code is Code.NOT_REACHED:
        return Status.PENDING
    return Status.EXCLUDED if code in EXCLUDED else Status.ERROR
