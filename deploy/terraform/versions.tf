# Not applied from the machine that wrote it: see docs/deployment.md. `terraform init -backend-config="bucket=..."`.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }

  backend "gcs" {
    prefix = "veriphoto"
  }
}

provider "google" {
  project = var.project
  region  = var.region

  # Budgets are kept by the billing account and need a project to be asked from.
  billing_project       = var.project
  user_project_override = true
}
