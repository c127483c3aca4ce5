# What the service stands on: APIs, registry, models, the keys' place, and who it runs as.

locals {
  name     = "veriphoto-${var.environment}"
  registry = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
  labels   = { app = "veriphoto", environment = var.environment }
}

data "google_project" "this" {}

resource "google_project_service" "needed" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "iam.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])

  service            = each.value
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Google's own encryption at rest; the images hold neither pictures nor secrets
  repository_id = "veriphoto"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of Veriphoto"
  labels        = local.labels

  docker_config {
    # A tag that was rolled out stays what it was, so that going back to it means something.
    immutable_tags = true
  }

  depends_on = [google_project_service.needed]
}

# Triton's model repository: `gcloud storage rsync --recursive model_repository gs://BUCKET`.
resource "google_storage_bucket" "models" {
  #checkov:skip=CKV_GCP_62:data access is in Cloud Audit Logs; a second bucket of access logs would tell nothing more
  name                        = "${var.project}-${local.name}-models"
  location                    = var.region
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      num_newer_versions = 5
    }
    action {
      type = "Delete"
    }
  }
}

# The place of the API keys, lines of name=key. Their value is put there by hand and never passes through Terraform:
# `gcloud secrets versions add NAME --data-file=-`.
resource "google_secret_manager_secret" "api_keys" {
  secret_id = "${local.name}-api-keys"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.needed]
}

# Who the containers run as. It may read the models and the keys, and nothing else in the project.
resource "google_service_account" "service" {
  account_id   = local.name
  display_name = "Veriphoto (${var.environment})"
}

resource "google_storage_bucket_iam_member" "reads_models" {
  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.service.member
}

resource "google_secret_manager_secret_iam_member" "reads_keys" {
  secret_id = google_secret_manager_secret.api_keys.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.service.member
}
