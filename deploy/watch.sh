#!/bin/sh
# All that an operator looks at, as processes of one machine, with something to see on it: `make watch`.
#
# `veriphoto serve` (Triton, the gateway, the drift monitor), Prometheus with our rules and, where it is installed,
# Grafana with our dashboards; then the samples are sent through the gateway until the panels have data. Ctrl-C ends all.
set -eu
cd "$(dirname "$0")/.."
var=${VERIPHOTO_VAR:-var}
rounds=${ROUNDS:-8}
gateway=http://127.0.0.1:8080
prometheus=http://127.0.0.1:9090
grafana=http://127.0.0.1:3000
mkdir -p "$var"

command -v prometheus >/dev/null || { echo "Prometheus is not installed: make prometheus" >&2; exit 2; }
addresses="$gateway $prometheus"
if command -v grafana >/dev/null; then addresses="$addresses $grafana"; fi
for address in $addresses; do
    # 7: nobody listens. Whatever else curl says, even of an answer that is no HTTP, somebody does.
    code=0
    curl --silent --max-time 5 --output /dev/null "$address" || code=$?
    [ "$code" = 7 ] || { echo "something serves at $address already; stop it first" >&2; exit 2; }
done
started=""
end() {
    trap - EXIT INT TERM
    for process in $started; do kill "$process" 2>/dev/null || true; done
    wait
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

.venv/bin/veriphoto serve --no-samples >"$var/serve.out" 2>&1 &
serving=$!
started="$serving"
echo "starting Triton, the gateway and the drift monitor ($var/serve.out) ..."
until curl --silent --fail --output /dev/null "$gateway/readyz"; do
    kill -0 "$serving" 2>/dev/null || { cat "$var/serve.out" >&2; exit 2; }
    sleep 1
done

prometheus --config.file=monitoring/prometheus/prometheus.yml --storage.tsdb.path="$var/prometheus" \
    --web.listen-address="${prometheus#http://}" >"$var/prometheus.log" 2>&1 &
started="$started $!"
if command -v grafana >/dev/null; then
    mkdir -p "$var/grafana"
    cp -r monitoring/grafana/provisioning "$var/grafana/"
    sed -i "s|/var/lib/grafana/dashboards|$PWD/monitoring/grafana/dashboards|" "$var/grafana/provisioning/dashboards/veriphoto.yml"
    VERIPHOTO_PROMETHEUS_URL=$prometheus GF_PATHS_PROVISIONING=$(realpath "$var/grafana/provisioning") \
        GF_PATHS_DATA=$(realpath "$var/grafana") GF_SERVER_HTTP_ADDR=127.0.0.1 \
        grafana server --homepath "${GRAFANA_HOME:-/usr/share/grafana}" >"$var/grafana.log" 2>&1 &
    started="$started $!"
    echo "Grafana:    $grafana (admin, admin)"
else
    echo "Grafana is not installed; its dashboards are in monitoring/grafana/dashboards"
fi
echo "gateway:    $gateway (/docs, /health, /drift)"
echo "Prometheus: $prometheus (/targets, /alerts)"

echo "sending the samples $rounds times, and each time a file that is no picture ..."
round=0
while [ "$round" -lt "$rounds" ]; do
    for file in samples/*; do
        curl --silent --output /dev/null --form "file=@$file" "$gateway/predict"
    done
    round=$((round + 1))
    sleep 4
done
echo "the panels have data; Ctrl-C ends all"
wait "$serving"
