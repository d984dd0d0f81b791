# Chinwag's users in RabbitMQ: configure, write and read, by name. Each service declares all that Chinwag has there, so that it is
# there whoever comes first, and what somebody deleted comes back; nobody may touch anything else.
rabbitmqctl add_vhost chinwag
rabbitmqctl add_user chinwag-edge PASSWORD-EDGE
rabbitmqctl add_user chinwag-worker PASSWORD-WORKER
rabbitmqctl add_user chinwag-persister PASSWORD-PERSISTER
rabbitmqctl set_permissions -p chinwag chinwag-edge '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$' '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$' '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$'
rabbitmqctl set_permissions -p chinwag chinwag-worker '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$' '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$' '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$'
# Dead letters are put back through the default exchange, to their queue alone.
rabbitmqctl set_permissions -p chinwag chinwag-persister '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$' '^((chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?|amq\.default)$' '^(chat|(persist|bot\.requests)(\.[0-9]+)?)(\.dead)?$'
# Whoever scales by the depth of queues looks at them, and does nothing with them.
rabbitmqctl add_user chinwag-queue-depth PASSWORD-QUEUE-DEPTH
rabbitmqctl set_user_tags chinwag-queue-depth monitoring
rabbitmqctl set_permissions -p chinwag chinwag-queue-depth '^$' '^$' '^$'
