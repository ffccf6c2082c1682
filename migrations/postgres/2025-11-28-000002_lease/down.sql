DROP TABLE candela_lease;
