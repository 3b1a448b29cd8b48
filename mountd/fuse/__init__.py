"""The kernel's side: pyfuse3 operations, mount options, kernel tuning."""
