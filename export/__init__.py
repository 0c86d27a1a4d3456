"""A restorer as one file, or a folder for Triton Inference Server, proven against the eager solve before it lands."""

from fastreg.compiled.gates import Report
from fastreg.export.exporting import Exported, export
from fastreg.export.formats import FORMATS, ExportError, Format, Options
from fastreg.export.loading import Artefact, load
from fastreg.export.verifying import verify

__all__ = ["FORMATS", "Artefact", "ExportError", "Exported", "Format", "Options", "Report", "export", "load", "verify"]
