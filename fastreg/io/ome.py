"""What OME-XML says of the planes of a stack, in the form in which tifffile writes it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

_PIXELS = ("SignificantBits", "TimeIncrement", "TimeIncrementUnit")
_SIZES = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ")
_CHANNEL = (
    *("Name", "Color", "Fluor", "AcquisitionMode", "IlluminationType", "ContrastMethod"),
    *("EmissionWavelength", "EmissionWavelengthUnit", "ExcitationWavelength", "ExcitationWavelengthUnit"),
)
_PLANE = (
    *("DeltaT", "DeltaTUnit", "ExposureTime", "ExposureTimeUnit"),
    *("PositionX", "PositionXUnit", "PositionY", "PositionYUnit", "PositionZ", "PositionZUnit"),
)
#: Elements that are written again; others are lost.
_KEPT = {
    "OME",
    "Image",
    "Pixels",
    "Channel",
    "LightPath",
    "Plane",
    "TiffData",
    "UUID",
    "Description",
    "AcquisitionDate",
}


def parse(xml: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is said of the first image, and the names of what is lost; nothing is kept of broken XML.

    The dimensions, which the array has itself, are left out.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return {}, ("OME-XML",)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    lost = ("parts of the OME-XML",) if names - _KEPT else ()
    image, pixels = root.find("{*}Image"), root.find("{*}Image/{*}Pixels")
    if image is None or pixels is None:
        return {}, ("OME-XML",)
    facts: dict[str, Any] = {key: pixels.get(key) for key in _PIXELS if pixels.get(key)}
    for key in _SIZES:
        if pixels.get(key):
            facts[key] = float(pixels.get(key, "nan"))
            facts[f"{key}Unit"] = pixels.get(f"{key}Unit", "µm")
    if image.get("Name"):
        facts["Name"] = image.get("Name")
    for name in ("Description", "AcquisitionDate"):
        text = image.findtext(f"{{*}}{name}")
        if text:
            facts[name] = text
    for name, keys in (("Channel", _CHANNEL), ("Plane", _PLANE)):
        elements = pixels.findall(f"{{*}}{name}")
        columns = {key: [element.get(key) for element in elements] for key in keys}
        whole = {key: values for key, values in columns.items() if values and None not in values}
        if whole:
            facts[name] = whole
    return facts, lost


def enlarged(facts: dict[str, Any], scale: float) -> dict[str, Any]:
    """The same of a stack whose planes were enlarged by a factor."""
    return {key: value / scale if key in _SIZES[:2] else value for key, value in facts.items()}
