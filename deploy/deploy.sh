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
[[ "$secrets" == /* ]] || secrets=$PWD/$secrets # compose would take it from its own folder
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

compose_without_secrets() { # for what reads no secret: older versions report each file that is missing
    compose "$@" 2> >(grep -v ' uses an undefined secret file ' >&2)
}

exists() { # exists FILTER...: whether there is such a container, be it stopped
    [ -n "$(docker ps -aq "$@" 2>/dev/null)" ]
}
of_compose=(--filter "label=com.docker.compose.project=$project")
alone=(--filter "name=^/${project}-(standalone|demo)\$")

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

needs_settings() {
    { [[ "$port" =~ ^[0-9]{1,5}$ ]] && [ "$port" -ge 1 ] && [ "$port" -le 65535 ]; } ||
        missing "CANDELA_PORT is $port, which is no port: give a number from 1 to 65535"
    [[ "${CANDELA_WAIT:-120}" =~ ^[0-9]{1,6}$ ]] ||
        missing "CANDELA_WAIT is $CANDELA_WAIT, which is no number of seconds: give one such as 120"
    [[ "${CANDELA_TARGET:-distroless}" =~ ^(distroless|debian)$ ]] ||
        missing "CANDELA_TARGET is $CANDELA_TARGET, which is no image of ours: give distroless or debian"
}

needs_secrets() {
    local name keys
    if [ -d "$secrets" ] && ! { [ -r "$secrets" ] && [ -x "$secrets" ]; }; then
        missing "you may not read the folder $secrets: run this as the user who ran setup, or as root"
        return
    fi
    for name in database_url postgres_password twelvedata_keys_g1 twelvedata_keys_g2; do
        [ -f "$secrets/$name" ] || missing "the file $secrets/$name is missing: run deploy/deploy.sh setup"
    done
    keys=$(cat "$secrets"/twelvedata_keys_g? 2>/dev/null | grep -cv '^[[:space:]]*\(#\|$\)' || true)
    [ "${keys:-0}" -gt 0 ] ||
        missing "there is no API key: put yours into $secrets/twelvedata_keys_g1, one a line (or try: deploy/deploy.sh demo)"
    for name in database_url postgres_password; do
        [ ! -f "$secrets/$name" ] || [ -s "$secrets/$name" ] ||
            missing "$secrets/$name is empty: delete it and run deploy/deploy.sh setup"
    done
    if [ -s "$secrets/postgres_password" ] && grep -q '@postgres:' "$secrets/database_url" 2>/dev/null &&
        ! grep -qF "$(cat "$secrets/postgres_password")" "$secrets/database_url"; then
        missing "$secrets/database_url has another password than postgres_password: delete it and run deploy/deploy.sh setup"
    fi
}

needs_port() { # needs_port FILTER...: unless such a container has it, which will be replaced
    [ -z "$(docker ps -q --filter "publish=$port" "$@" 2>/dev/null)" ] || return 0
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null ||
        missing "port $port of 127.0.0.1 is taken: stop what listens there (a candela of this script: deploy/deploy.sh stop), or set CANDELA_PORT"
}

stop_if_lacking() { [ "$lacks" = 0 ] || exit 69; }

running() { # the id of the container that serves clients: of compose, of the first edge, standalone or demo
    local id
    id=$(docker ps -q "${of_compose[@]}" --filter "label=com.docker.compose.service=candela" | head -1)
    [ -n "$id" ] || id=$(docker ps -q "${of_compose[@]}" --filter "label=com.docker.compose.service=edge-1" | head -1)
    [ -n "$id" ] || id=$(docker ps -q "${of_compose[@]}" --filter "label=com.docker.compose.service=demo" | head -1)
    [ -n "$id" ] || id=$(docker ps -q "${alone[@]}" | head -1)
    [ -n "$id" ] || { say "candela does not run: deploy/deploy.sh deploy-compose starts it" >&2; exit 1; }
    echo "$id"
}

ends_most=5 # so often a container may end before it counts as one that ends whenever it is started
restarts() { docker inspect -f '{{.RestartCount}}' "$1" 2>/dev/null || echo 0; }

ends_again() { # ends_again CONTAINER: what to know about one that ends whenever it is started
    local last
    last=$(docker logs --tail 1 "$1" 2>&1)
    say "candela ends whenever it is started; the last line of its log:" "$last" >&2
    [[ "$last" != *"password authentication failed"* ]] ||
        say "The volume ${project}_postgres was made with another password than the one in $secrets. Put the old password back into" \
            "postgres_password and database_url; or, to begin with an empty database: deploy/deploy.sh stop; docker volume rm ${project}_postgres" >&2
    exit 1
}

ask() { # ask CONTAINER ARGUMENT...: candela's own command in it
    [ "$(docker inspect -f '{{.State.Restarting}}' "$1")" != true ] || ends_again "$1"
    docker exec "$1" /usr/bin/candela "${@:2}"
}

random() { od -An -tx1 -N24 /dev/urandom | tr -d ' \n'; }

setup() {
    { mkdir -p "$secrets" && chmod 700 "$secrets" && [ -w "$secrets" ]; } 2>/dev/null || {
        say "you may not make or change the folder $secrets: run this as its owner, or name another one in CANDELA_SECRETS" >&2
        exit 69
    }
    # The files in it are readable by the users of the containers; the folder keeps everybody else out.
    local name password new=1
    [ ! -e "$secrets/postgres_password" ] || new=0
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
    if [ $new = 1 ] && docker volume inspect "${project}_postgres" >/dev/null 2>&1; then
        say "The volume ${project}_postgres has a database with an earlier password: put that one into $secrets/postgres_password and" \
            "database_url; or, to begin with an empty database: docker volume rm ${project}_postgres"
    fi
    say "Next: put your API keys into $secrets/twelvedata_keys_g1, then run deploy/deploy.sh validate"
}

validate() {
    needs_docker
    needs_settings
    needs_secrets
    needs_port "${of_compose[@]}"
    stop_if_lacking
    compose config --quiet || { say "deploy/compose.yaml is not accepted: see above" >&2; exit 1; }
    say "everything is there: deploy/deploy.sh deploy-compose starts candela"
}

build_image() { # build_image NAME PROFILE
    if [ "$build" = 0 ]; then
        docker image inspect "$1" >/dev/null 2>&1 || docker pull "$1" || {
            say "there is no image $1, neither here nor in its registry: correct CANDELA_IMAGE, or unset it to build one" >&2
            exit 69
        }
        return
    fi
    docker build -f "$here/Dockerfile" -t "$1" --target "${CANDELA_TARGET:-distroless}" \
        --build-arg PROFILE="$2" --build-arg COMMIT="$CANDELA_COMMIT" "$root" || {
        say "the image $1 was not built, see above: a build needs the network for its base images and crates (CANDELA_IMAGE uses a finished one)" >&2
        exit 1
    }
}

compose_up() { # compose_up ARGUMENT...: and waits until clients are served
    compose "$@" || {
        say "not everything was started, see above: mend it and run this again; deploy/deploy.sh stop stops what was started" >&2
        exit 1
    }
    [ "${CANDELA_WAIT:-}" != 0 ] || return 0
    local id
    id=$(running)
    wait_until_served "$id"
}

wait_until_served() { # wait_until_served CONTAINER: or until it waits for what only others can bring
    local limit=${CANDELA_WAIT:-120} page before
    local ends=$((SECONDS + limit))
    before=$(restarts "$1")
    until docker exec "$1" /usr/bin/candela status --ready >/dev/null 2>&1; do
        page=$(docker exec "$1" /usr/bin/candela status 2>/dev/null || true)
        if [[ "$page" == WAITING_L0* && "$1" != "$project-demo" ]]; then # a demo's pipeline is part of it
            say "candela runs: http://127.0.0.1:$port/status"
            say "It waits for the history pipeline to write l0_ready.flag into the volume of /data/ready-signals (by hand: docs/deploying.md)."
            return
        fi
        [ $(($(restarts "$1") - before)) -lt "$ends_most" ] || ends_again "$1"
        if [ $SECONDS -ge $ends ]; then
            say "clients are not served after $limit s; what candela says of itself:" >&2
            if [ -n "$page" ]; then say "$page" >&2; else docker logs --tail 20 "$1" >&2; fi
            exit 1
        fi
        sleep 1
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
    needs_settings
    needs_secrets
    needs_port "${of_compose[@]}"
    stop_if_lacking
    build_image "$CANDELA_IMAGE" dist
    compose_up ${profiles[@]+"${profiles[@]}"} up -d --no-build
}

deploy_ha() {
    needs_docker
    needs_settings
    needs_secrets
    needs_port "${of_compose[@]}"
    stop_if_lacking
    build_image "$CANDELA_IMAGE" dist
    ends_most=12 # an edge ends until an ingest is there
    compose_up --profile ha up -d --no-build proxy
}

run_alone() { # run_alone NAME ARGUMENT...: one container as compose would make it
    local name=$1
    shift
    docker rm -fv "$project-$name" >/dev/null 2>&1 || true
    docker run -d --name "$project-$name" --init --read-only --tmpfs /tmp:mode=1777 --cap-drop ALL \
        --security-opt no-new-privileges:true --pids-limit 256 --memory 512m --stop-timeout 15 \
        -p "127.0.0.1:$port:8080" "$@" >/dev/null
    [ "${CANDELA_WAIT:-}" = 0 ] || wait_until_served "$project-$name"
}

deploy_standalone() {
    needs_docker
    needs_settings
    needs_secrets
    needs_port --filter "name=^/$project-standalone\$"
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
    needs_settings
    needs_port --filter "name=^/$project-demo\$"
    stop_if_lacking
    build_image "$demo_image" release # without link-time optimisation: built sooner
    run_alone demo -e CANDELA__SERVER__ALLOW_OPEN=true "$demo_image" demo --bind 0.0.0.0
}

logs() {
    local follow=(-f)
    [ "${CANDELA_LOGS_FOLLOW:-1}" = 1 ] || follow=()
    if exists "${alone[@]}"; then
        docker logs ${follow[@]+"${follow[@]}"} "$(docker ps -aq "${alone[@]}" | head -1)"
    elif ! exists "${of_compose[@]}"; then
        running >/dev/null
    else
        compose_without_secrets logs ${follow[@]+"${follow[@]}"} "$@"
    fi
}

stop() {
    local id
    for id in $(docker ps -aq "${alone[@]}"); do
        docker stop -t 15 "$id" >/dev/null
        docker rm -v "$id" >/dev/null # and the volume without a name that a demo has for /data
    done
    if exists "${of_compose[@]}" || [ -n "$(docker network ls -q "${of_compose[@]}")" ]; then
        compose_without_secrets --profile admin --profile monitoring --profile demo --profile ha down
    fi
    say "candela is stopped; its volumes keep the data (docker volume ls --filter name=$project)"
}

status() {
    local id
    id=$(running)
    ask "$id" status
}

health() {
    local id
    id=$(running)
    ask "$id" status --ready || { say "clients are not served as they should be: deploy/deploy.sh status says why" >&2; exit 1; }
    say "clients are served as they should be"
}

command=${1:-help}
[ $# = 0 ] || shift
case "$command" in
    deploy-compose | logs) ;;
    *) [ $# = 0 ] || { say "deploy/deploy.sh $command takes no argument, but was given: $*" >&2; exit 64; } ;;
esac
case "$command" in
    setup) setup ;;
    validate) validate ;;
    deploy-compose) deploy_compose "$@" ;;
    deploy-ha) deploy_ha ;;
    deploy-standalone) deploy_standalone ;;
    demo) demo ;;
    status) needs_docker; stop_if_lacking; status ;;
    health) needs_docker; stop_if_lacking; health ;;
    logs) needs_docker; stop_if_lacking; logs "$@" ;;
    stop) needs_docker; stop_if_lacking; stop ;;
    help | -h | --help) sed -n '2,23s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
    *) say "deploy/deploy.sh knows no command $command; deploy/deploy.sh help lists them" >&2; exit 64 ;;
esac
