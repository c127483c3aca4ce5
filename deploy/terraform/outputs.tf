output "url" {
  description = "Where the gateway answers."
  value       = google_cloud_run_v2_service.veriphoto.uri
}

output "registry" {
  description = "Where images are pushed to."
  value       = local.registry
}

output "models" {
  description = "Bucket of Triton's model repository."
  value       = "gs://${google_storage_bucket.models.name}"
}
