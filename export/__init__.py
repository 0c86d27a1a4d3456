"""Exporting a restorer to one file or a folder (an artefact), which is compared with the eager solve before it is kept."""

from fastreg.compiled.gates import Report
from fastreg.export.exporting import Exported, export
from fastreg.export.formats import FORMATS, ExportError, Format, Options
from fastreg.export.loading import Artefact, load
from fastreg.export.verifying import verify

__all__ = ["FORMATS", "Artefact", "ExportError", "Exported", "Format", "Options", "Report", "export", "load", "verify"]
