#!/bin/sh
# Makes the secrets of the Compose files for production in the folder secrets/, or the one named. What is there already stays.
set -eu
folder=${1:-secrets}

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -e "$folder/$1" ] || printf '%s\n' "$2" >"$folder/$1"; }

# The folder keeps other users of this machine out. The files themselves must be readable to all: in the containers they
# have the rights that they have here, and the processes there run as users of their own.
mkdir -p "$folder"
chmod 700 "$folder"
umask 022

keep postgres_password "$(random)"
keep database_url "postgresql://seesame:$(cat "$folder/postgres_password")@postgres/seesame"
keep redis.conf "requirepass $(random)"
keep redis_url "redis://:$(sed 's/^requirepass //' "$folder/redis.conf")@redis:6379/0"
keep seesame_clip_key "$(random)"
keep grafana_password "$(random)"
keep seesame_admin_key "$(random)"
echo "The key to everything is in $folder/seesame_admin_key"
