#!/usr/bin/env bash
# Starts tritonserver with the flags it is given; with VERIPHOTO_FLAVOUR (onnxruntime or tensorrt: how the classifier
# runs); with the second opinion's encoder where it was built into the repository; and with the two flags that hold a
# secret, which therefore stand in no compose file and no manifest: the administrative APIs answer only to the key in
# VERIPHOTO_TRITON_ADMIN_KEY_FILE. Without such a file the key is made up here and told to nobody, so those APIs are
# closed.
set -eu

key_file=${VERIPHOTO_TRITON_ADMIN_KEY_FILE:-/run/secrets/triton_admin_key}
if [ -r "$key_file" ]; then
    key=$(cat "$key_file")
else
    key=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
fi
case $key in
    '' | *[!A-Za-z0-9._~-]*)
        echo "$key_file: the key must be letters, digits and ._~- only" >&2
        exit 2
        ;;
esac
restricted="shared-memory,model-repository,model-config,statistics,trace,logging:admin-key=$key"

# As in `veriphoto serve`: config.pbtxt is the flavour onnxruntime.
case ${VERIPHOTO_FLAVOUR:-onnxruntime} in
    onnxruntime) ;;
    *) set -- "$@" "--model-config-name=$VERIPHOTO_FLAVOUR" ;;
esac

# As in `veriphoto serve`: a model of its own, where it is there and wanted; `embedded` runs it in the step that asks.
needed=encoder.json
[ "${VERIPHOTO_FLAVOUR:-onnxruntime}" != tensorrt ] || needed=model.plan
for flag in "$@"; do
    case $flag in
        --model-repository=*)
            if [ -e "${flag#*=}/encoder/1/$needed" ] && [ "${VERIPHOTO_SECOND_OPINION:-auto}" != off ] &&
                [ "${VERIPHOTO_FLAVOUR:-onnxruntime}" != embedded ]; then
                set -- "$@" --load-model=encoder
            fi
            ;;
    esac
done

# As in `veriphoto serve`: Triton joins the traces of its callers (rate 0: it begins none of its own).
if [ -n "${OTEL_EXPORTER_OTLP_ENDPOINT:-}" ]; then
    set -- "$@" --trace-config=mode=opentelemetry --trace-config=rate=0 --trace-config=level=TIMESTAMPS \
        "--trace-config=opentelemetry,url=${OTEL_EXPORTER_OTLP_ENDPOINT%/}/v1/traces" \
        --trace-config=opentelemetry,resource=service.name=veriphoto-triton
fi

# Triton parses some request bodies on its stack: with the usual 8 MB, 4.2 MB of form data would end it.
ulimit -s 65536

# As `veriphoto serve` does: freed memory stays with the stubs, or a quarter of preprocessing is page faults.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-67108864}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-134217728}"

exec tritonserver "$@" "--http-restricted-api=$restricted" "--grpc-restricted-protocol=$restricted"
