"""Report pages of splits and trial lists."""
