"""Where photos come from: paths and URIs, folders, object stores, manifests and S3 inventories."""
