#!/usr/bin/env bash
# Deploys candela with Docker: with PostgreSQL and Redis (compose), or alone with SQLite (standalone).
#
#   deploy/deploy.sh setup               makes deploy/secrets: passwords at random, and the files for the API keys
#   deploy/deploy.sh validate            says everything that is missing, each with what to do; starts nothing
#   deploy/deploy.sh deploy-compose [admin|monitoring]...    builds, starts, and waits until clients are served
#   deploy/deploy.sh deploy-ha           two ingests, two edges and a proxy, with PostgreSQL and Redis
#   deploy/deploy.sh deploy-standalone   one container: SQLite and memory instead of PostgreSQL and Redis
#   deploy/deploy.sh demo                one container on a simulated market: needs no key and no secret
#   deploy/deploy.sh status              candela's own page: is it healthy, and if not, why
#   deploy/deploy.sh health              code 0 when clients are served as they should be
#   deploy/deploy.sh logs [SERVICE]      follows the log (CANDELA_LOGS_FOLLOW=0: prints what there is)
#   deploy/deploy.sh stop                stops all of it; the data stays in its volumes
#
# CANDELA_TARGET=debian     the image with a shell (default: distroless)
# CANDELA_IMAGE=NAME        use this image and build none
# CANDELA_PORT=8080         the port on 127.0.0.1
# CANDELA_WAIT=120          seconds to wait until clients are served; 0 does not wait
# CANDELA_COMPOSE_OVERRIDE  a further compose file, laid over deploy/compose.yaml
#
# Exit codes: 0 done, 1 something found wrong, 64 no such command, 69 something needed is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
secrets=${CANDELA_SECRETS:-$here/secrets}
export CANDELA_SECRETS=$secrets
project=${CANDELA_PROJECT:-candela}
port=${CANDELA_PORT:-8080}
build=1
[ -z "${CANDELA_IMAGE:-}" ] || build=0
demo_image=${CANDELA_IMAGE:-candela:demo}
export CANDELA_IMAGE=${CANDELA_IMAGE:-candela:latest}
export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
CANDELA_COMMIT=${CANDELA_COMMIT:-$(git -C "$root" rev-parse HEAD 2>/dev/null || true)}
export CANDELA_COMMIT

say() { printf '%s\n' "$*"; }
missing() { printf '%s\n' "$*" >&2; lacks=1; }
lacks=0

compose() { # docker compose, or docker-compose where the plugin is not
    local files=(-p "$project" -f "$here/compose.yaml")
    [ -z "${CANDELA_COMPOSE_OVERRIDE:-}" ] || files+=(-f "$CANDELA_COMPOSE_OVERRIDE")
    if docker compose version >/dev/null 2>&1; then
        docker compose "${files[@]}" "$@"
    else
        docker-compose "${files[@]}" "$@"
    fi
}

needs_docker() { # everything that is missing, not only the first
    if ! command -v docker >/dev/null; then
        missing "docker is missing: install Docker Engine 20.10 or newer (Debian: apt-get install docker.io docker-compose)"
        return
    fi
    docker info >/dev/null 2>&1 ||
        missing "the Docker engine does not answer: start it (systemctl start docker), or join the group docker"
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null ||
        missing "docker compose is missing: install the compose plugin, or docker-compose 1.29 or newer"
}

needs_secrets() {
    local name keys
    for name in database_url postgres_password twelvedata_keys_g1 twelvedata_keys_g2; do
        [ -f "$secrets/$name" ] || missing "the file $secrets/$name is missing: run deploy/deploy.sh setup"
    done
    keys=$(cat "$secrets"/twelvedata_keys_g? 2>/dev/null | grep -cv -e '^#' -e '^$' || true)
    [ "${keys:-0}" -gt 0 ] ||
        missing "there is no API key: put yours into $secrets/twelvedata_keys_g1, one a line (or try: deploy/deploy.sh demo)"
    [ ! -f "$secrets/postgres_password" ] || [ -s "$secrets/postgres_password" ] ||
        missing "$secrets/postgres_password is empty: delete it and run deploy/deploy.sh setup"
}

needs_port() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null ||
        missing "port $port of 127.0.0.1 is taken: stop what listens there, or set CANDELA_PORT"
}

stop_if_lacking() { [ "$lacks" = 0 ] || exit 69; }

running() { # the id of the container that serves clients: of compose, of the first edge, standalone or demo
    local id
    id=$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=candela" | head -1)
    [ -n "$id" ] || id=$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=edge-1" | head -1)
    [ -n "$id" ] || id=$(docker ps -q --filter "name=^/${project}-(standalone|demo)\$" | head -1)
    [ -n "$id" ] || { say "candela does not run: deploy/deploy.sh deploy-compose starts it" >&2; exit 1; }
    echo "$id"
}

random() { od -An -tx1 -N24 /dev/urandom | tr -d ' \n'; }

setup() {
    mkdir -p "$secrets"
    chmod 700 "$secrets" # the files in it are readable by the users of the containers; the folder keeps everybody else out
    local name password
    put() { # put NAME TEXT, unless the file is there
        if [ -e "$secrets/$1" ]; then
            say "kept   $secrets/$1"
        else
            printf '%s' "$2" >"$secrets/$1"
            chmod 444 "$secrets/$1"
            say "made   $secrets/$1"
        fi
    }
    for name in postgres_password pgadmin_password redis_commander_password grafana_password grafana_reader_password; do
        put "$name" "$(random)"
    done
    password=$(cat "$secrets/postgres_password")
    put database_url "postgresql://candela:$password@postgres:5432/usdcop_trading"
    for name in twelvedata_keys_g1 twelvedata_keys_g2; do
        put "$name" "# API keys of TwelveData, up to 8, one a line"$'\n'
    done
    chmod 644 "$secrets"/twelvedata_keys_g?
    say "Next: put your API keys into $secrets/twelvedata_keys_g1, then run deploy/deploy.sh validate"
}

validate() {
    needs_docker
    needs_secrets
    stop_if_lacking
    compose config --quiet || { say "deploy/compose.yaml is not accepted: see above" >&2; exit 1; }
    say "everything is there: deploy/deploy.sh deploy-compose starts candela"
}

build_image() { # build_image NAME PROFILE
    [ "$build" = 1 ] || return 0
    docker build -f "$here/Dockerfile" -t "$1" --target "${CANDELA_TARGET:-distroless}" \
        --build-arg PROFILE="$2" --build-arg COMMIT="$CANDELA_COMMIT" "$root"
}

wait_until_served() { # wait_until_served CONTAINER: or until it waits for what only others can bring
    local waited=0 limit=${CANDELA_WAIT:-120} page
    until docker exec "$1" /usr/bin/candela status --ready >/dev/null 2>&1; do
        page=$(docker exec "$1" /usr/bin/candela status 2>/dev/null || true)
        if [[ "$page" == WAITING_L0* ]]; then
            say "candela runs: http://127.0.0.1:$port/status"
            say "It waits for the history pipeline to write l0_ready.flag into the volume of /data/ready-signals."
            return
        fi
        if [ "$waited" -ge "$limit" ]; then
            say "clients are not served after $limit s; what candela says of itself:" >&2
            if [ -n "$page" ]; then say "$page" >&2; else docker logs --tail 20 "$1" >&2; fi
            exit 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    say "candela serves clients: http://127.0.0.1:$port/status"
}

deploy_compose() {
    local profiles=() profile
    for profile in "$@"; do
        case "$profile" in
            admin | monitoring) profiles+=(--profile "$profile") ;;
            *) say "there is no profile $profile: admin and monitoring are" >&2; exit 64 ;;
        esac
    done
    needs_docker
    needs_secrets
    stop_if_lacking
    build_image "$CANDELA_IMAGE" dist
    compose ${profiles[@]+"${profiles[@]}"} up -d --no-build
    if [ "${CANDELA_WAIT:-}" = 0 ]; then return; fi
    wait_until_served "$(running)"
}

deploy_ha() {
    needs_docker
    needs_secrets
    stop_if_lacking
    build_image "$CANDELA_IMAGE" dist
    compose --profile ha up -d --no-build proxy
    if [ "${CANDELA_WAIT:-}" = 0 ]; then return; fi
    wait_until_served "$(running)"
}

run_alone() { # run_alone NAME ARGUMENT...: one container as compose would make it
    local name=$1
    shift
    docker rm -f "$project-$name" >/dev/null 2>&1 || true
    needs_port
    stop_if_lacking
    docker run -d --name "$project-$name" --init --read-only --tmpfs /tmp:mode=1777 --cap-drop ALL \
        --security-opt no-new-privileges:true --pids-limit 256 --memory 512m --stop-timeout 15 \
        -p "127.0.0.1:$port:8080" "$@" >/dev/null
    [ "${CANDELA_WAIT:-}" = 0 ] || wait_until_served "$(running)"
}

deploy_standalone() {
    needs_docker
    needs_secrets
    stop_if_lacking
    build_image "$CANDELA_IMAGE" dist
    local group mounts=()
    for group in g1 g2; do
        mounts+=(-v "$secrets/twelvedata_keys_$group:/run/secrets/twelvedata_keys_$group:ro"
            -e "CANDELA__UPSTREAM__KEYS_${group^^}_FILE=/run/secrets/twelvedata_keys_$group")
    done
    [ -z "${CANDELA_WS_URL:-}" ] || mounts+=(-e "CANDELA__UPSTREAM__WS_URL=$CANDELA_WS_URL")
    [ -z "${CANDELA_REST_URL:-}" ] || mounts+=(-e "CANDELA__UPSTREAM__REST_URL=$CANDELA_REST_URL")
    run_alone standalone --restart on-failure -v "${project}_standalone:/data" "${mounts[@]}" \
        -e CANDELA__SERVER__ALLOW_OPEN=true -e READY_SIGNALS_DIR=/data/ready-signals "$CANDELA_IMAGE"
}

demo() {
    needs_docker
    stop_if_lacking
    build_image "$demo_image" release # without link-time optimisation: built sooner
    run_alone demo -e CANDELA__SERVER__ALLOW_OPEN=true "$demo_image" demo --bind 0.0.0.0
}

logs() {
    local follow=(-f)
    [ "${CANDELA_LOGS_FOLLOW:-1}" = 1 ] || follow=()
    if [ -n "$(docker ps -aq --filter "name=^/${project}-(standalone|demo)\$")" ]; then
        docker logs ${follow[@]+"${follow[@]}"} "$(docker ps -aq --filter "name=^/${project}-(standalone|demo)\$" | head -1)"
    else
        compose logs ${follow[@]+"${follow[@]}"} "$@"
    fi
}

stop() {
    local id
    for id in $(docker ps -aq --filter "name=^/${project}-(standalone|demo)\$"); do
        docker stop -t 15 "$id" >/dev/null
        docker rm "$id" >/dev/null
    done
    compose --profile admin --profile monitoring --profile demo --profile ha down
    say "candela is stopped; its volumes keep the data (docker volume ls --filter name=$project)"
}

command=${1:-help}
[ $# = 0 ] || shift
case "$command" in
    setup) setup ;;
    validate) validate ;;
    deploy-compose) deploy_compose "$@" ;;
    deploy-ha) deploy_ha ;;
    deploy-standalone) deploy_standalone ;;
    demo) demo ;;
    status) needs_docker; stop_if_lacking; docker exec "$(running)" /usr/bin/candela status ;;
    health) needs_docker; stop_if_lacking; docker exec "$(running)" /usr/bin/candela status --ready ;;
    logs) needs_docker; stop_if_lacking; logs "$@" ;;
    stop) needs_docker; stop_if_lacking; stop ;;
    help | -h | --help) sed -n '2,23s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
    *) say "deploy/deploy.sh knows no command $command; deploy/deploy.sh help lists them" >&2; exit 64 ;;
esac
