"""The file system: nodes, namespace, handles, files, attributes. Knows neither FUSE nor any cloud."""
