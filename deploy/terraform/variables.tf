variable "project" {
  description = "Google Cloud project that everything is made in."
  type        = string
}

variable "region" {
  description = "Region; it must offer Cloud Run with the GPU below."
  type        = string
  default     = "europe-west4"
}

variable "environment" {
  description = "Name that tells two installations in one project apart."
  type        = string
  default     = "production"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "Lower-case letters, digits and dashes, at most 16."
  }
}

variable "image_tag" {
  description = "Tag of the images triton, gateway and sidecar in the registry: the release that runs."
  type        = string
}

variable "flavour" {
  description = "How the classifier runs: onnxruntime, or tensorrt where the bucket's version holds a plan for this GPU."
  type        = string
  default     = "onnxruntime"

  validation {
    condition     = contains(["onnxruntime", "tensorrt"], var.flavour)
    error_message = "onnxruntime or tensorrt."
  }
}

variable "gpu" {
  description = "Cloud Run's name of the GPU that Triton gets."
  type        = string
  default     = "nvidia-l4"
}

variable "min_instances" {
  description = "Instances that are always there. 0 costs nothing at night and makes the first caller wait for a GPU."
  type        = number
  default     = 1
}

variable "max_instances" {
  description = "Most instances, each with a GPU: the ceiling of the bill."
  type        = number
  default     = 3
}

variable "public" {
  description = "Whether everybody on the internet may call the gateway, which wants an API key of its own."
  type        = bool
  default     = false
}

variable "billing_account" {
  description = "Billing account that the budget watches."
  type        = string
}

variable "monthly_budget" {
  description = "Money a month, in the billing account's currency, whose half, nine tenths and whole are announced."
  type        = number
  default     = 500
}

variable "alert_email" {
  description = "Who is told of the budget and of an outage."
  type        = string
}
