"""Protection of VolumeAttributesClasses: one that is deleted stays until no claim and no volume names it."""
