# One Cloud Run service: the gateway takes the requests, Triton with its GPU and the drift sidecar stand beside it.
# All three share one loopback, so Triton listens there and nowhere else.

resource "google_cloud_run_v2_service" "veriphoto" {
  name                = local.name
  location            = var.region
  labels              = local.labels
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.environment == "production"

  template {
    service_account                  = google_service_account.service.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    gpu_zonal_redundancy_disabled    = true
    max_instance_request_concurrency = 32 # the gateway's own bound, --max-in-flight
    timeout                          = "60s"
    labels                           = local.labels

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    node_selector {
      accelerator = var.gpu
    }

    containers {
      name       = "gateway"
      image      = "${local.registry}/gateway:${var.image_tag}"
      depends_on = ["triton"]

      ports {
        container_port = 8080
      }

      env {
        name  = "VERIPHOTO_GATEWAY_HOST"
        value = "0.0.0.0"
      }
      env {
        name  = "VERIPHOTO_TRITON_URL"
        value = "grpc://127.0.0.1:8001"
      }
      env {
        name  = "VERIPHOTO_MAX_IN_FLIGHT"
        value = "32" # as above: the GPU sets what may wait, not this container's core
      }
      env {
        name  = "VERIPHOTO_API_KEYS_FILE"
        value = "/etc/veriphoto/keys/api_keys"
      }

      resources {
        limits            = { cpu = "1", memory = "1Gi" }
        cpu_idle          = false # a GPU service is billed for its whole life anyway
        startup_cpu_boost = true
      }

      # These probes come from inside. From outside Cloud Run keeps paths that end in z to itself: use /health there.
      startup_probe {
        period_seconds    = 5
        failure_threshold = 48
        http_get {
          path = "/startup"
          port = 8080
        }
      }
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/healthz"
          port = 8080
        }
      }

      volume_mounts {
        name       = "keys"
        mount_path = "/etc/veriphoto/keys"
      }
    }

    containers {
      name  = "triton"
      image = "${local.registry}/triton:${var.image_tag}"
      args = [
        "--model-repository=/models",
        "--model-control-mode=explicit",
        "--load-model=detector",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--exit-on-error=true",
        "--exit-timeout-secs=10",
        "--http-address=127.0.0.1",
        "--http-port=8000",
        "--grpc-address=127.0.0.1",
        "--grpc-port=8001",
        "--metrics-address=127.0.0.1",
        "--metrics-port=8002",
        "--metrics-config=summary_latencies=true",
        "--allow-sagemaker=false",
        "--allow-vertex-ai=false",
        "--backend-config=python,shm-region-prefix-name=triton_python_backend_shm_region_veriphoto_",
        "--log-format=ISO8601",
      ]

      env {
        name  = "VERIPHOTO_FLAVOUR"
        value = var.flavour
      }

      resources {
        limits   = { cpu = "6", memory = "24Gi", "nvidia.com/gpu" = "1" }
        cpu_idle = false
      }

      # Over TCP: Cloud Run's probes of a container beside the first one do not come over loopback.
      startup_probe {
        period_seconds    = 5
        failure_threshold = 48
        http_get {
          path = "/v2/health/ready"
          port = 8000
        }
      }

      volume_mounts {
        name       = "models"
        mount_path = "/models"
      }
      volume_mounts {
        name       = "predictions"
        mount_path = "/var/lib/veriphoto/predictions"
      }
    }

    containers {
      name       = "sidecar"
      image      = "${local.registry}/sidecar:${var.image_tag}"
      depends_on = ["triton"]

      # Its other settings are the image's: it asks Triton and is asked over loopback.
      env {
        name  = "VERIPHOTO_MONITOR_HOST"
        value = "127.0.0.1"
      }

      resources {
        limits   = { cpu = "1", memory = "512Mi" }
        cpu_idle = false
      }

      volume_mounts {
        name       = "models"
        mount_path = "/models"
      }
      volume_mounts {
        name       = "predictions"
        mount_path = "/var/lib/veriphoto/predictions"
      }
    }

    volumes {
      name = "models"
      gcs {
        bucket    = google_storage_bucket.models.name
        read_only = true
      }
    }
    volumes {
      name = "predictions"
      empty_dir {
        medium     = "MEMORY"
        size_limit = "512Mi"
      }
    }
    volumes {
      name = "keys"
      secret {
        secret = google_secret_manager_secret.api_keys.secret_id
        items {
          path    = "api_keys"
          version = "latest"
        }
      }
    }
  }

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  depends_on = [
    google_storage_bucket_iam_member.reads_models,
    google_secret_manager_secret_iam_member.reads_keys,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "everybody" {
  #checkov:skip=CKV_GCP_102:only where `public` is set; the gateway behind it wants API keys of its own
  count = var.public ? 1 : 0

  name     = google_cloud_run_v2_service.veriphoto.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}
